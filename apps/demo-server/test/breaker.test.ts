import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ChildServer } from '../src/child-server.ts';
import { call, connect, errorOf, eventually, setUpstream, startDemo, text } from './demo.ts';

let server: ChildServer;
let client: Client;

beforeAll(async () => {
  server = await startDemo('--breaker-threshold', '3', '--breaker-recovery', '1000', '--tool-timeout', '2000');
  client = await connect(server.url);
});
afterAll(async () => {
  await client?.close();
  await server?.[Symbol.asyncDispose]();
});

const upstreamRequests = async () =>
  ((await (await fetch(`${server.upstreamUrl}/control`)).json()) as { requests: number }).requests;
const callApi = () => call(client, 'call_external_api', { endpoint: 'status' });

test.each(['failing', 'dead', 'slow'] as const)(
  'while the upstream is %s its circuit opens, says when to retry, and closes when it is well',
  async (mode) => {
    await setUpstream(server, { mode, delayMs: 60_000 });
    for (let index = 0; index < 3; index++) {
      const failed = await callApi();
      expect(failed.isError).toBe(true);
      expect(text(failed)).toMatch(/Try again in \d+ s/);
    }
    const before = await upstreamRequests();
    const refused = await callApi();
    expect(refused.isError).toBe(true);
    expect(errorOf(refused)).toMatchObject({ code: 'ERR_CIRCUIT_OPEN', retryAfterMs: expect.any(Number) });
    expect(text(refused)).toMatch(/upstream/);
    expect(text(refused)).toMatch(/\d+ s/);
    expect(await upstreamRequests()).toBe(before);

    await setUpstream(server, { mode: 'ok' });
    await eventually(async () => (await callApi()).isError !== true);
  },
  30_000,
);

test('a failing upstream leaves the tools that do not need it alone', async () => {
  await setUpstream(server, { mode: 'failing' });
  for (let index = 0; index < 5; index++) await callApi();
  expect((await call(client, 'get_user', { user_id: 'u1' })).isError).toBeFalsy();
  await setUpstream(server, { mode: 'ok' });
});

test('many requests of one call that all fail are one failure, of which the circuit hears', async () => {
  const fetchUsers = () => call(client, 'fetch_user_data', { user_ids: ['u1', 'u2', 'u3', 'u4', 'u5'] });
  await eventually(async () => (await fetchUsers()).isError !== true);
  await setUpstream(server, { mode: 'failing' });
  for (let index = 0; index < 3; index++) expect(errorOf(await fetchUsers()).code).toBe('ERR_HTTP_STATUS');
  expect(errorOf(await fetchUsers()).code).toBe('ERR_CIRCUIT_OPEN');
  await setUpstream(server, { mode: 'ok' });
});
