import { type LocalService, type PostgresService, startPostgres, startRedis } from '@x/local-services';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ChildServer } from '../src/child-server.ts';
import { call, connect, errorOf, eventually, metric, setUpstream, startDemo, text } from './demo.ts';

let postgres: PostgresService;
let redis: LocalService;
let services: string[];
let one: ChildServer;
let two: ChildServer;

beforeAll(async () => {
  [postgres, redis] = await Promise.all([startPostgres({ external: false }), startRedis({ external: false })]);
  services = ['--database-url', postgres.url, '--redis-url', redis.url];
  const settings = ['--breaker-recovery', '600000'];
  one = await startDemo(...services, ...settings);
  two = await startDemo(...services, ...settings, '--upstream-url', one.upstreamUrl);
}, 60_000);
afterAll(async () => {
  await two?.[Symbol.asyncDispose]();
  await one?.[Symbol.asyncDispose]();
  await redis?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
});

test('what one server has loaded another finds in Redis', async () => {
  const answers = [];
  for (const { url } of [one, two]) {
    const client = await connect(url);
    answers.push(await call(client, 'get_org_structure'));
    await client.close();
  }
  expect(answers[1]?.structuredContent).toEqual(answers[0]?.structuredContent);
  expect(await metric(one, /^cache_loads_total/)).toBe(1);
  expect(await metric(two, /^cache_loads_total/)).toBe(0);
  expect(await metric(two, /^cache_hit_ratio\{cache_type="redis"\}/)).toBe(1);
}, 60_000);

test('a circuit that opens in one server is open in the other, which need not fail first', async () => {
  const endpoint = { endpoint: 'status' };
  await setUpstream(one, { mode: 'failing' });
  const [first, second] = await Promise.all([connect(one.url), connect(two.url)]);
  await eventually(async () => errorOf(await call(first, 'call_external_api', endpoint)).code === 'ERR_CIRCUIT_OPEN');
  await eventually(async () => (await metric(two, /^breaker_state\{.*upstream.*state="open"/)) === 1);
  const refused = await call(second, 'call_external_api', endpoint);
  expect(errorOf(refused).code).toBe('ERR_CIRCUIT_OPEN');
  expect(await metric(two, /^breaker_calls_total\{.*upstream.*outcome="failure"/)).toBe(0);
  await Promise.all([first.close(), second.close()]);
}, 60_000);

test('callers have one rate, whichever server they ask', async () => {
  const rate = 5;
  const settings = [...services, '--upstream-url', one.upstreamUrl, '--rate-limit', `${rate}`];
  await using first = await startDemo(...settings);
  await using second = await startDemo(...settings);
  const clients = await Promise.all([connect(first.url), connect(second.url)]);
  const startedAt = performance.now();
  const answers = await Promise.all(
    clients.flatMap((client) => Array.from({ length: 60 }, () => call(client, 'get_user', { user_id: 'u1' }))),
  );
  const seconds = (performance.now() - startedAt) / 1_000;
  const allowed = answers.filter((answer) => answer.isError !== true).length;
  const refused = answers.filter((answer) => errorOf(answer).reason === 'rate_limited');
  expect(allowed + refused.length).toBe(120);
  // The burst, and what is given anew while they are answered.
  expect(allowed).toBeLessThanOrEqual(rate + Math.ceil(rate * seconds));
  expect(allowed).toBeGreaterThanOrEqual(rate);
  expect(refused.length).toBeGreaterThan(0);
  expect(text(refused[0] as never)).toMatch(/Try again in \d+ s/);
  await Promise.all(clients.map((client) => client.close()));
}, 60_000);
