import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import { type LocalService, type PostgresService, startPostgres, startRedis } from '@x/local-services';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ChildServer } from '../src/child-server.ts';
import { call, connect, eventually, startDemo, text } from './demo.ts';

let postgres: PostgresService;
let redis: LocalService;
let server: ChildServer;
let client: Client;

beforeAll(async () => {
  [postgres, redis] = await Promise.all([startPostgres({ external: false }), startRedis({ external: false })]);
  server = await startDemo(
    '--database-url',
    postgres.url,
    '--redis-url',
    redis.url,
    '--tool-timeout',
    '3000',
    '--breaker-recovery',
    '500',
    '--org-cache-ttl',
    '1',
  );
  client = await connect(server.url);
});
afterAll(async () => {
  await client?.close();
  await server?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
  await redis?.[Symbol.asyncDispose]();
});

/** Calls without pause until stopped, and keeps every answer; a call that the SDK's client throws on counts as a crash. */
function load(name: string, args: (n: number) => Record<string, unknown>) {
  const answers: { failed: boolean; text: string }[] = [];
  let running = true;
  const workers = Array.from({ length: 8 }, async () => {
    for (let n = 0; running; n++) {
      const answer = await call(client, name, args(n));
      answers.push({ failed: answer.isError === true, text: text(answer) });
    }
  });
  const stop = async () => {
    running = false;
    await Promise.all(workers);
    return answers;
  };
  return { answers, stop, [Symbol.asyncDispose]: async () => void (await stop()) };
}

const user = (n: number) => ({ user_id: `u${1 + (n % 5_000)}` });
const works = async (name: string, args: Record<string, unknown>) => (await call(client, name, args)).isError !== true;

function expectClear(answers: { failed: boolean; text: string }[]) {
  const failures = answers.filter((answer) => answer.failed).map((answer) => answer.text);
  for (const failure of new Set(failures)) expect(failure).toMatch(/\b\d+ s(econds?)?\b/);
}

test('PostgreSQL connections killed under load: no crash, clear errors, recovery', async () => {
  const admin = new pg.Client({ connectionString: postgres.url });
  admin.on('error', () => {});
  await admin.connect();
  await using running = load('get_user', user);
  for (let round = 0; round < 5; round++) {
    await eventually(() => running.answers.length > (round + 1) * 20);
    await admin.query(
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = current_user AND backend_type = $1',
      ['client backend'],
    );
  }
  await admin.end();
  await eventually(() => works('get_user', { user_id: 'u1' }));
  expectClear(await running.stop());
}, 60_000);

test('PostgreSQL killed and started again under load: no crash, clear errors, recovery', async () => {
  await using running = load('get_user_details', user);
  await eventually(() => running.answers.length > 20);
  await postgres.kill();
  await eventually(() => running.answers.some((answer) => answer.failed));
  expect((await fetch(new URL('/readyz', server.url))).status).toBe(503);
  expect((await fetch(new URL('/healthz', server.url))).status).toBe(200);
  await postgres.restart();
  await eventually(() => works('get_user_details', { user_id: 'u1' }));
  await eventually(async () => (await fetch(new URL('/readyz', server.url))).ok);
  expectClear(await running.stop());
}, 60_000);

test('PostgreSQL frozen: a call costs at most its time-out', async () => {
  await postgres.pause();
  // The client gives up after twice the time-out, and throws.
  const answer = (await client.callTool({ name: 'get_user', arguments: { user_id: 'u1' } }, undefined, {
    timeout: 6_000,
  })) as CallToolResult;
  expect(answer.isError).toBe(true);
  expect(text(answer)).toMatch(/Try again in \d+ s/);
  await postgres.resume();
  await eventually(() => works('get_user', { user_id: 'u1' }));
}, 60_000);

test.each(['killed', 'frozen'] as const)(
  'Redis %s under load: cached tools go on from memory and the database, and no error reaches a caller',
  async (fault) => {
    // Depth varies the key, and entries live for a millisecond: nearly every call goes to Redis.
    await using running = load('get_org_structure', (n) => ({ depth: 1 + (n % 3) }));
    await eventually(() => running.answers.length > 20);
    await (fault === 'killed' ? redis.kill() : redis.pause());
    const before = running.answers.length;
    await eventually(() => running.answers.length > before + 50);
    expect((await fetch(new URL('/readyz', server.url))).status).toBe(503);
    await (fault === 'killed' ? redis.restart() : redis.resume());
    await eventually(async () => (await fetch(new URL('/readyz', server.url))).ok);
    expect((await running.stop()).filter((answer) => answer.failed)).toEqual([]);
  },
  60_000,
);

test('nothing in these tests was an unexpected error to the server', () => {
  expect(server.log.filter((entry) => Number(entry.level) >= 50)).toEqual([]);
});
