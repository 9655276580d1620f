import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type PostgresService, startPostgres, startRedis } from '@x/local-services';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startChildServer } from '../../src/child-server.ts';
import { build, call, cleanEnvironment, connect, eventually, main } from '../demo.ts';

let postgres: PostgresService;

beforeAll(async () => {
  build();
  postgres = await startPostgres({ external: false });
});
afterAll(() => postgres?.[Symbol.asyncDispose]());

const start = (redisUrl: string, ...args: string[]) =>
  startChildServer(main, ['--database-url', postgres.url, '--redis-url', redisUrl, ...args], cleanEnvironment());

test('with a wrong Redis password it serves from memory and the database, and the password is not in the log', async () => {
  await using redis = await startRedis({ external: false });
  const url = new URL(redis.url);
  url.password = 'wrong-hunter2';
  await using server = await start(url.href);
  const client = await connect(server.url);
  expect((await call(client, 'get_org_structure')).isError).toBeFalsy();
  expect((await fetch(new URL('/readyz', server.url))).status).toBe(503);
  await client.close();
  expect(server.log.some((entry) => JSON.stringify(entry).includes('WRONGPASS'))).toBe(true);
  expect(JSON.stringify(server.log) + server.output()).not.toContain('hunter2');
}, 60_000);

test('with a Redis that accepts and does not answer it starts, and is ready when Redis is', async () => {
  await using redis = await startRedis({ external: false });
  await redis.pause();
  await using server = await start(redis.url);
  expect((await fetch(new URL('/healthz', server.url))).status).toBe(200);
  expect((await fetch(new URL('/readyz', server.url))).status).toBe(503);
  await redis.resume();
  await eventually(async () => (await fetch(new URL('/readyz', server.url))).ok, 30_000);
}, 60_000);

test('a start that waits for PostgreSQL ends at once when it is told to', async () => {
  await using redis = await startRedis({ external: false });
  await postgres.pause();
  const child = spawn(process.execPath, [main, '--database-url', postgres.url, '--redis-url', redis.url], {
    env: cleanEnvironment(),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  await once(child.stderr, 'data');
  child.kill('SIGTERM');
  expect(await new Promise((resolve) => child.on('exit', resolve))).toBe(0);
  await postgres.resume();
}, 60_000);
