import { Cache, type CacheOptions } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';

let service: Awaited<ReturnType<typeof startRedis>>;
const clients: Redis[] = [];
const caches: Cache[] = [];

beforeAll(async () => {
  service = await startRedis();
});
afterAll(async () => {
  await service?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await connect().flushall();
});
afterEach(async () => {
  await Promise.all(caches.splice(0).map((cache) => cache.close()));
  for (const client of clients.splice(0)) client.disconnect();
});

function connect(): Redis {
  const client = new Redis(service.url);
  clients.push(client);
  return client;
}

/** A cache with a connection of its own, as in another process. */
function process(options: CacheOptions & { leaseMs?: number } = {}): Cache {
  const { leaseMs, ...rest } = options;
  const cache = new Cache({ ...rest, remote: new RedisTier({ client: connect(), prefix: 'lease:', leaseMs }) });
  caches.push(cache);
  return cache;
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test('three processes of twenty cold callers each make one load', async () => {
  let loads = 0;
  const load = async () => {
    loads++;
    await sleep(50);
    return { loads };
  };
  const processes = [process(), process(), process()];
  const values = await Promise.all(
    processes.flatMap((cache) => Array.from({ length: 20 }, () => cache.getOrSet('cold', load))),
  );
  expect(loads).toBe(1);
  expect(values.every((value) => value.loads === 1)).toBe(true);
});

test('an expiring key is refreshed by one process, the others serve stale meanwhile', async () => {
  let loads = 0;
  const load = async () => {
    loads++;
    await sleep(50);
    return loads;
  };
  const options = { ttlMs: 150, staleWhileRevalidateMs: 60_000 };
  const processes = [process(options), process(options), process(options)];
  await Promise.all(processes.map((cache) => cache.getOrSet('k', load)));
  await sleep(200);
  expect(await Promise.all(processes.map((cache) => cache.getOrSet('k', load)))).toEqual([1, 1, 1]);
  await sleep(20);
  expect(await process(options).getOrSet('k', load)).toBe(1);
  await sleep(100);
  expect(loads).toBe(2);
  expect(await process(options).get('k')).toBe(2);
});

test('when the holder’s load fails, another process loads at once', async () => {
  const [one, two] = [process(), process()];
  const failing = one.getOrSet('k', async () => {
    await sleep(30);
    throw new Error('down');
  });
  await sleep(10);
  const started = performance.now();
  const waiting = two.getOrSet('k', () => 'loaded');
  await expect(failing).rejects.toThrow('down');
  expect(await waiting).toBe('loaded');
  expect(performance.now() - started).toBeLessThan(1_000);
});

test('a holder that died costs the others no more than the lease', async () => {
  const dying = process({ leaseMs: 300 });
  void dying.getOrSet('k', () => new Promise(() => {}));
  await sleep(50);
  // Its connection goes, and with it the signs of life.
  clients.at(-1)?.disconnect();
  const started = performance.now();
  expect(await process({ leaseMs: 300 }).getOrSet('k', () => 'loaded')).toBe('loaded');
  expect(performance.now() - started).toBeLessThan(1_000);
  caches.shift();
});

test('a load that takes longer than the lease keeps it, and is stored', async () => {
  const [one, two] = [process({ leaseMs: 90 }), process()];
  expect(
    await one.getOrSet('k', async () => {
      await sleep(300);
      return 'slow';
    }),
  ).toBe('slow');
  expect(await two.get('k')).toBe('slow');
});

test('a caller who leaves while its process waits for another’s load leaves at once', async () => {
  const [one, two] = [process(), process()];
  let finish: () => void = () => {};
  const holding = one.getOrSet(
    'k',
    () =>
      new Promise<number>((resolve) => {
        finish = () => resolve(1);
      }),
  );
  await sleep(20);
  const caller = new AbortController();
  const waiting = two.getOrSet('k', () => 2, { signal: caller.signal });
  await sleep(20);
  caller.abort(new Error('left'));
  await expect(waiting).rejects.toThrow('left');
  finish();
  expect(await holding).toBe(1);
  expect(two.stats().loads).toBe(0);
});

test('a machine whose clock is ahead does not make entries live longer here', async () => {
  const client = connect();
  const wallNow = Date.now() + 3_600_000;
  const ahead = `xc1V${'v'.repeat(16)}${'0'.repeat(15)}${String(wallNow + 100).padStart(15, '0')}[${wallNow},[],1]`;
  await client.set('lease:k', ahead);
  const cache = process();
  expect(await cache.lookup('k')).toMatchObject({ value: 1, ttlMs: 100 });
});
