import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ChildServer } from '../../src/child-server.ts';
import { readConfig } from '../../src/config.ts';
import { createLogger } from '../../src/logger.ts';
import { call, connect, errorOf, main, startDemo, text } from '../demo.ts';

let server: ChildServer;

beforeAll(async () => {
  server = await startDemo();
});
afterAll(() => server?.[Symbol.asyncDispose]());

test('what one caller sends cannot open the circuit to the database for all others', async () => {
  const client = await connect(server.url);
  const good = { title: 'x', assignee_id: 'u1' };
  for (const item of [
    { ...good, title: 'a\0b' },
    { ...good, due_date: '0000-01-01' },
  ]) {
    for (let round = 0; round < 6; round++) {
      const answer = await call(client, 'batch_create_assignments', { assignments: [item] });
      expect(errorOf(answer).code).toBe('ERR_INVALID_ITEMS');
      expect(text(answer)).toContain('assignments[0]');
    }
  }
  expect((await call(client, 'get_user', { user_id: 'u1' })).isError).toBeFalsy();
  await client.close();
});

test('the circuit to the database counts its own failures, and not what it says of values', async () => {
  // The built module, since it starts worker threads that run from files.
  const { createDependencies } = await import(
    /* @vite-ignore */ pathToFileURL(main.replace(/main\.js$/, 'dependencies.js')).href
  );
  const addresses = {
    databaseUrl: 'postgres://127.0.0.1:1/x',
    redisUrl: 'redis://127.0.0.1:1',
    upstreamUrl: 'http://127.0.0.1:1',
  };
  const { breakers, workers, metrics } = createDependencies(readConfig([]), addresses, createLogger('silent'));
  const fail = async (code: string) => {
    for (let round = 0; round < 10; round++) {
      await breakers.postgres.run(() => Promise.reject(Object.assign(new Error(code), { code }))).catch(() => {});
    }
    return breakers.postgres.state;
  };
  for (const code of ['22021', '23505', 'ERR_RELEASED']) expect(await fail(code), code).toBe('closed');
  for (const code of ['57P01', '08006', '53300', 'ERR_TIMEOUT', 'ERR_CONNECTION_LOST']) {
    expect(await fail(code), code).toBe('open');
    breakers.postgres.reset();
  }
  await workers.close();
  await metrics.close();
});

test('a call with thousands of arguments is refused without naming each', async () => {
  const args = Object.fromEntries(Array.from({ length: 50_000 }, (_, n) => [`unknown_${n}`, n]));
  const response = await fetch(server.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name: 'get_user', arguments: args },
    }),
  });
  expect(response.status).toBe(400);
  expect((await response.text()).length).toBeLessThan(500);
});
