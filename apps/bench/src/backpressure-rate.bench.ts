import { RateLimiter } from '@x/backpressure';
import { RedisRateLimiter } from '@x/backpressure/redis';
import { startRedis } from '@x/local-services';
import { Redis } from 'ioredis';
import { BurstyRateLimiter, RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible';
import { type Contenders, Rounds, verdict } from './pools-rounds.ts';

const ours = '@x/backpressure';
const peer = 'rate-limiter-flexible';
const KEYS = 1_000;
const MANY_KEYS = 50_000;
const HOUR_S = 3_600;

/** Our rate limiters beside rate-limiter-flexible's, in memory and in Redis. It counts in fixed windows; its burst is a second limiter. */
export async function runBackpressureRateBench(): Promise<void> {
  await measureMemory();
  const service = await startRedis({ external: false });
  try {
    await measureRedis(service.url);
  } finally {
    await service[Symbol.asyncDispose]();
  }
}

async function measureMemory(): Promise<void> {
  for (const [label, limit] of [
    ['in memory, allowed', 1e9],
    ['in memory, refused', 1],
  ] as const) {
    const mine = new RateLimiter({ limit, intervalMs: HOUR_S * 1_000 });
    const theirs = new RateLimiterMemory({ points: limit, duration: HOUR_S });
    const rounds = await Rounds.run(
      {
        [`${ours} tryConsume`]: overKeys(async (key) => mine.tryConsume(key)),
        [`${ours} consume`]: overKeys((key) => mine.consume(key)),
        [peer]: overKeys((key) => theirs.consume(key).catch(() => {})),
      },
      1,
      41,
      20_000,
    );
    rounds.report(label, []);
    verdict(`${label}: ${ours} consume / ${peer}`, rounds.ratio(`${ours} consume`, peer), 'at least', 2);
  }
  const held: Record<string, () => { consume(key: string): Promise<unknown> }> = {
    [ours]: () => new RateLimiter({ limit: 10, intervalMs: HOUR_S * 1_000, maxKeys: MANY_KEYS }),
    [peer]: () => new RateLimiterMemory({ points: 10, duration: HOUR_S }),
  };
  const bytes = new Map<string, number>();
  for (const [name, make] of Object.entries(held)) bytes.set(name, await heapBytesPerKey(make()));
  for (const [name, each] of bytes) console.log(`in memory: ${name} ${each.toFixed(0)} bytes of heap for each key`);
  ratio('in memory: heap for each key', bytes, peer);
}

async function measureRedis(url: string): Promise<void> {
  const [mineClient, theirClient, burstyClient] = [new Redis(url), new Redis(url), new Redis(url)];
  const options = { intervalMs: HOUR_S * 1_000, prefix: 'rate:', commandTimeoutMs: 30_000 };
  const bursty = (points: number): BurstyRateLimiter =>
    new BurstyRateLimiter(
      new RateLimiterRedis({ storeClient: burstyClient, points, duration: HOUR_S, keyPrefix: 'even' }),
      new RateLimiterRedis({ storeClient: burstyClient, points, duration: HOUR_S, keyPrefix: 'more' }),
    );
  for (const [label, limit] of [
    ['in Redis, allowed', 1e9],
    ['in Redis, refused', 1],
  ] as const) {
    const mine = new RedisRateLimiter({ ...options, client: mineClient, limit });
    const theirs = new RateLimiterRedis({
      storeClient: theirClient,
      points: limit,
      duration: HOUR_S,
      keyPrefix: 'rate',
    });
    const both = bursty(limit);
    const contenders: Contenders = {
      [ours]: overKeys((key) => mine.consume(key)),
      [peer]: overKeys((key) => theirs.consume(key).catch(() => {})),
      [`${peer} with a burst`]: overKeys((key) => both.consume(key).catch(() => {})),
    };
    for (const call of Object.values(contenders)) for (let n = 0; n < KEYS; n++) await call();
    for (const callers of [1, 32]) {
      const rounds = await Rounds.run(contenders, callers);
      rounds.report(`${label}, ${callers} at a time`, []);
      // An even rate takes more of the server's time than a counter in a window: 8 us against 4.
      verdict(`${label}, ${callers} at a time: ${ours} / ${peer}`, rounds.ratio(ours, peer), 'at least', 0.8);
    }
    for (const [name, call] of Object.entries(contenders)) {
      const { commands, bytes } = await wire(mineClient, call);
      console.log(`${label}: ${name} ${commands.toFixed(2)} round trips, ${bytes.toFixed(0)} bytes on the wire a call`);
    }
    await mine.close();
    await mineClient.flushall();
  }
  const used = new Map<string, number>();
  const mine = new RedisRateLimiter({ ...options, client: mineClient, limit: 10, maxKeys: 1 });
  const theirs = new RateLimiterRedis({ storeClient: theirClient, points: 10, duration: HOUR_S, keyPrefix: 'rate' });
  const both = bursty(10);
  used.set(ours, await redisBytesPerKey(mineClient, (key) => mine.consume(key)));
  used.set(peer, await redisBytesPerKey(theirClient, (key) => theirs.consume(key)));
  used.set(`${peer} with a burst`, await redisBytesPerKey(burstyClient, (key) => both.consume(key)));
  for (const [name, each] of used) console.log(`in Redis: ${name} ${each.toFixed(0)} bytes for each caller`);
  ratio('in Redis: bytes for each caller', used, peer);
  for (const client of [mineClient, theirClient, burstyClient]) client.disconnect();
}

/** The keys in turn. */
function overKeys(call: (key: string) => Promise<unknown>): () => Promise<unknown> {
  let n = 0;
  return () => call(`user-${n++ % KEYS}`);
}

async function heapBytesPerKey(limiter: { consume(key: string): Promise<unknown> }): Promise<number> {
  const keys = Array.from({ length: MANY_KEYS }, (_, n) => `user-${n}`);
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  for (const key of keys) await limiter.consume(key);
  globalThis.gc?.();
  const each = (process.memoryUsage().heapUsed - before) / MANY_KEYS;
  // What is measured must outlive its measurement.
  await limiter.consume(keys[0] as string);
  return each;
}

/** What a call costs on the wire, as the server counts it. */
async function wire(observer: Redis, call: () => Promise<unknown>): Promise<{ commands: number; bytes: number }> {
  const read = async () => {
    const stats = await observer.info('commandstats');
    const net = await observer.info('stats');
    const bytes = number(net, /total_net_input_bytes:(\d+)/) + number(net, /total_net_output_bytes:(\d+)/);
    return { commands: number(stats, /cmdstat_evalsha:calls=(\d+)/), bytes };
  };
  const start = await read();
  const idle = await read();
  for (let n = 0; n < KEYS; n++) await call();
  const end = await read();
  // The questions themselves are bytes too.
  const asking = idle.bytes - start.bytes;
  return { commands: (end.commands - idle.commands) / KEYS, bytes: (end.bytes - idle.bytes - asking) / KEYS };
}

async function redisBytesPerKey(client: Redis, consume: (key: string) => Promise<unknown>): Promise<number> {
  await client.flushall();
  const used = async () => number(await client.info('memory'), /used_memory:(\d+)/);
  await consume('the first loads the script');
  const before = await used();
  for (let n = 0; n < MANY_KEYS; n += 100) {
    await Promise.all(Array.from({ length: 100 }, (_, m) => consume(`user-${n + m}`)));
  }
  return ((await used()) - before) / MANY_KEYS;
}

function ratio(label: string, values: ReadonlyMap<string, number>, beside: string): void {
  console.log(`${label}: ${ours} / ${beside} = ${((values.get(ours) ?? 0) / (values.get(beside) ?? 0)).toFixed(2)}`);
}

function number(text: string, pattern: RegExp): number {
  return Number(pattern.exec(text)?.[1] ?? 0);
}
