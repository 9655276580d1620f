import { afterAll, beforeAll, expect, test } from 'vitest';
import { Fleet, SETTINGS } from './fleet/fleet.ts';

interface Given {
  version: number;
  stale: boolean;
}

let fleet: Fleet;

beforeAll(async () => {
  fleet = await Fleet.start(3);
});
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]();
});

const burst = (key: string, more: Record<string, unknown> = {}) => ({
  key,
  callers: 20,
  loadMs: 300,
  ttlMs: 60_000,
  ...more,
});
const loading = (key: string, loads = 1) =>
  fleet.until(async () => (await fleet.loads(key)) === loads, `${loads} loads`);

test('three processes of twenty cold callers each make one load', async () => {
  const given = (await fleet.all<Given[]>('burst', burst('cold'))).flat();
  expect(given).toEqual(Array.from({ length: 60 }, () => ({ version: 0, stale: false })));
  expect(await fleet.loads('cold')).toBe(1);
  expect(await fleet.all('get', { key: 'cold' })).toEqual([0, 0, 0]);
});

test('an expiring key is refreshed once, and nobody waits', async () => {
  await fleet.all('burst', burst('expiring', { ttlMs: 200, loadMs: 10 }));
  await fleet.truth.incr('truth:expiring');
  // Their clocks are not one: what is over for one of them may be fresh for another for a moment yet.
  await fleet.until(
    async () => (await fleet.all('get', { key: 'expiring' })).every((found) => found === null),
    'stale',
  );
  const given = (await fleet.all<Given[]>('burst', burst('expiring'))).flat();
  expect(given).toEqual(Array.from({ length: 60 }, () => ({ version: 0, stale: true })));
  await fleet.until(async () => (await fleet.all('get', { key: 'expiring' })).every((version) => version === 1), 'new');
  expect(await fleet.loads('expiring')).toBe(2);
});

test('a holder that is killed delays the others no longer than its lease, and one of them loads', async () => {
  void fleet.ask(0, 'burst', burst('killed', { loadMs: 600_000 }));
  await loading('killed');
  const waiting = Promise.all(
    [1, 2].map((member) => fleet.ask<Given[]>(member, 'burst', burst('killed', { loadMs: 50 }))),
  );
  await fleet.kill(0);
  expect((await waiting).flat()).toHaveLength(40);
  const loads = await fleet.loads('killed');
  await fleet.spawn(0);
  expect(loads).toBe(2);
});

test('a load that takes longer than the lease is one load all the same', async () => {
  const given = (await fleet.all<Given[]>('burst', burst('slow', { loadMs: 2.5 * SETTINGS.leaseMs }))).flat();
  expect(given).toHaveLength(60);
  expect(await fleet.loads('slow')).toBe(1);
});

test('a holder that stood still for longer than its lease does not overwrite what others stored', async () => {
  const held = fleet.ask<Given[]>(0, 'burst', burst('stopped', { loadMs: 100 }));
  await loading('stopped');
  fleet.freeze(0, true);
  try {
    await new Promise((resolve) => setTimeout(resolve, SETTINGS.leaseMs + 100));
    await fleet.truth.incr('truth:stopped');
    const given = await fleet.ask<Given[]>(1, 'burst', burst('stopped', { loadMs: 10 }));
    expect(given[0]).toEqual({ version: 1, stale: false });
  } finally {
    fleet.freeze(0, false);
  }
  expect(await held).toHaveLength(20);
  await fleet.until(async () => (await fleet.ask(0, 'get', { key: 'stopped' })) === 1, 'the new one');
  expect(await fleet.all('get', { key: 'stopped' })).toEqual([1, 1, 1]);
});

test('a deletion in one process during another’s load wins everywhere', async () => {
  const old = fleet.ask<Given[]>(0, 'burst', burst('deleted', { loadMs: 400 }));
  await loading('deleted');
  await fleet.outside((redis) => redis.ping());
  await fleet.until(async () => {
    let placed = 0;
    await fleet.outside(async (redis) => {
      placed = await redis.exists('fleet:deleted');
    });
    return placed === 1;
  }, 'a lease');
  await new Promise((resolve) => setTimeout(resolve, 250));
  await fleet.truth.incr('truth:deleted');
  await fleet.ask(1, 'delete', { key: 'deleted' });
  expect((await old)[0]).toEqual({ version: 0, stale: false });
  expect(await fleet.all('peek', { key: 'deleted' })).toEqual([null, null, null]);
  const given = (await fleet.all<Given[]>('burst', burst('deleted', { loadMs: 10 }))).flat();
  expect(given.every(({ version }) => version === 1)).toBe(true);
});
