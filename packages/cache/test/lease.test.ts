import { Cache, type CacheOptions, type LeaseAnswer } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { ManualClock } from '@x/testkit';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';

let service: Awaited<ReturnType<typeof startRedis>>;
let observer: Redis;
let clock: ManualClock;
const clients: Redis[] = [];
const caches: Cache[] = [];
/** How often a process was told that another one loads. */
let held = 0;

/** A tier that says when it has been told to wait. Its commands never time out, since the clock is moved by hand. */
class Tier extends RedisTier {
  constructor(leaseMs: number | undefined) {
    super({
      client: connect(),
      prefix: 'lease:',
      // Who waits is not woken by news, but polls: the clock alone says when.
      invalidation: 'none',
      leaseMs,
      clock,
      commandTimeoutMs: 1_000_000_000,
    });
  }

  override async lease(...asked: Parameters<RedisTier['lease']>): Promise<LeaseAnswer> {
    const answer = await super.lease(...asked);
    if (answer.state === 'held') held++;
    return answer;
  }
}

beforeAll(async () => {
  service = await startRedis();
});
afterAll(async () => {
  await service?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  clock = new ManualClock({ wallNow: Date.now() });
  held = 0;
  observer = connect();
  await observer.flushall();
});
afterEach(async () => {
  for (const cache of caches.splice(0)) {
    const closing = cache.close({ timeoutMs: 0 });
    await clock.advance(0);
    await closing;
  }
  for (const client of clients.splice(0)) client.disconnect();
});

function connect(): Redis {
  const client = new Redis(service.url);
  clients.push(client);
  return client;
}

/** A cache with a connection of its own, as in another process. */
function process({ leaseMs, ...options }: CacheOptions & { leaseMs?: number } = {}): Cache {
  const cache = new Cache({ ...options, clock, remote: new Tier(leaseMs) });
  caches.push(cache);
  return cache;
}

/** A load that the test ends. */
class Load<T> {
  runs = 0;
  finish: (value: T) => void = () => {};
  fail: (error: Error) => void = () => {};
  readonly #answer = new Promise<T>((resolve, reject) => {
    this.finish = resolve;
    this.fail = reject;
  });
  readonly run = (): Promise<T> => {
    this.runs++;
    return this.#answer;
  };
}

/** Waits on Redis' time, not on the clock's. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await observer.ping();
}

/** Lets the processes that wait ask Redis again, one poll after the other, until `promise` is settled. Returns the milliseconds that took. */
async function polling(promise: Promise<unknown>): Promise<number> {
  const started = clock.now();
  let settled = false;
  const stop = () => {
    settled = true;
  };
  promise.then(stop, stop);
  while (!settled) {
    const before = held;
    await clock.advance(100);
    await until(() => settled || held > before);
  }
  return clock.now() - started;
}

test('three processes of twenty cold callers each make one load', async () => {
  const load = new Load<string>();
  const callers = [process(), process(), process()].flatMap((cache) =>
    Array.from({ length: 20 }, () => cache.getOrSet('cold', load.run)),
  );
  await until(() => load.runs === 1 && held === 2);
  load.finish('loaded');
  await Promise.race(callers);
  await clock.advance(100);
  expect(await Promise.all(callers)).toEqual(Array.from({ length: 60 }, () => 'loaded'));
  expect(load.runs).toBe(1);
});

test('an expiring key is refreshed by one process, the others serve stale meanwhile', async () => {
  const refresh = new Load<number>();
  let loads = 0;
  const load = () => (++loads === 1 ? 1 : refresh.run());
  const options = { ttlMs: 150, staleWhileRevalidateMs: 60_000 };
  const processes = [process(options), process(options), process(options)];
  for (const cache of processes) expect(await cache.getOrSet('k', load)).toBe(1);
  await clock.advance(150);
  expect(await Promise.all(processes.map((cache) => cache.getOrSet('k', load)))).toEqual([1, 1, 1]);
  await until(() => refresh.runs === 1 && held === 2);
  expect(await process(options).getOrSet('k', load)).toBe(1);
  await until(() => held === 3);
  refresh.finish(2);
  await until(() => processes.some((cache) => cache.peek('k') === 2));
  expect(await process(options).get('k')).toBe(2);
  await clock.advance(100);
  await until(() => caches.every((cache) => cache.peek('k') === 2));
  expect(loads).toBe(2);
});

test('when the holder’s load fails, another process loads at its next poll', async () => {
  const load = new Load<string>();
  const failing = process().getOrSet('k', load.run);
  const failed = expect(failing).rejects.toThrow('down');
  await until(() => load.runs === 1);
  const waiting = process().getOrSet('k', () => 'loaded');
  await until(() => held === 1);
  load.fail(new Error('down'));
  await failed;
  await clock.advance(100);
  expect(await waiting).toBe('loaded');
});

test('a holder that died costs the others no more than the lease', async () => {
  const load = new Load<string>();
  process({ leaseMs: 3_000 })
    .getOrSet('k', load.run)
    .catch(() => {});
  await until(() => load.runs === 1);
  // Its connection goes, and with it the signs of life.
  clients.at(-1)?.disconnect();
  const leftMs = await observer.pttl('lease:k');
  expect(leftMs === -2 || (leftMs > 0 && leftMs <= 3_000)).toBe(true);
  const waiting = process({ leaseMs: 3_000 }).getOrSet('k', () => 'loaded');
  await until(() => held === 1);
  expect(await polling(waiting)).toBeLessThanOrEqual(3_000);
  expect(await waiting).toBe('loaded');
});

test.each<[string, number]>([
  ['of a missing key', 0],
  ['of a stale one', 1],
])('a load %s that takes longer than the lease keeps it, and is stored', async (_, loadsBefore) => {
  const options = { ttlMs: 1_000, staleIfErrorMs: 3_600_000, leaseMs: 60_000 };
  const [one, two] = [process(options), process(options)];
  if (loadsBefore > 0) await one.set('k', 'old');
  await clock.advance(1_000);
  const load = new Load<string>();
  const loading = one.getOrSet('k', load.run);
  await until(() => load.runs === 1);
  const shorten = () =>
    loadsBefore > 0 ? observer.setrange('lease:k', 20, '000000000000001') : observer.pexpire('lease:k', 30_000);
  const renewed = async () =>
    loadsBefore > 0
      ? Number(await observer.getrange('lease:k', 20, 34)) > 1
      : (await observer.pttl('lease:k')) > 30_000;
  for (let signs = 0; signs < 3; signs++) {
    await shorten();
    expect(await renewed()).toBe(false);
    await clock.advance(20_000);
    while (!(await renewed()));
  }
  load.finish('slow');
  expect(await loading).toBe('slow');
  expect(await two.get('k')).toBe('slow');
});

test('a caller who leaves while its process waits for another’s load leaves at once', async () => {
  const load = new Load<number>();
  const [one, two] = [process(), process()];
  const holding = one.getOrSet('k', load.run);
  await until(() => load.runs === 1);
  const caller = new AbortController();
  const waiting = two.getOrSet('k', () => 2, { signal: caller.signal });
  await until(() => held === 1);
  caller.abort(new Error('left'));
  await expect(waiting).rejects.toThrow('left');
  load.finish(1);
  expect(await holding).toBe(1);
  expect(two.stats().loads).toBe(0);
});

test('a cache that gives up a loader when it is closed gives its lease back', async () => {
  const load = new Load<number>();
  const cache = process();
  const given = expect(cache.getOrSet('k', load.run)).rejects.toMatchObject({ code: 'ERR_CLOSED' });
  await until(() => load.runs === 1);
  const closing = cache.close({ timeoutMs: 500 });
  expect(await observer.exists('lease:k')).toBe(1);
  await clock.advance(500);
  await given;
  await closing;
  expect(await observer.exists('lease:k')).toBe(0);
});

test('a machine whose clock is ahead does not make entries live longer here', async () => {
  const wallNow = clock.wallNow() + 3_600_000;
  const ahead = `xc2V${'v'.repeat(16)}${'0'.repeat(15)}${String(wallNow + 100).padStart(15, '0')}j-[${wallNow},0,[],1]`;
  await observer.set('lease:k', ahead);
  const cache = process();
  expect(await cache.lookup('k')).toMatchObject({ value: 1, ttlMs: 100 });
});
