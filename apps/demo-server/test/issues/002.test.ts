import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ChildServer } from '../../src/child-server.ts';
import { call, connect, errorOf, startDemo, text } from '../demo.ts';

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
