import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import { Cache } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { BentoCache, bentostore } from 'bentocache';
import { redisDriver } from 'bentocache/drivers/redis';
import { Redis } from 'ioredis';
import { type Goal, printGoals } from './cache-goals.ts';
import { median } from './pools-rounds.ts';

const KEYS = 64;
const ROUNDS = 300;
const WARM_UP_ROUNDS = 60;
const TTL_MS = 600_000;
const PROCESSES = 3;
const CALLERS = 20;
const BARE = 'ioredis GET + JSON.parse';
const WAYS = new Map([
  ['one after the other', 1],
  ['16 at a time', 16],
]);

const VALUES: Record<string, (n: number) => unknown> = {
  'a record of 55 bytes': (n) => ({ id: `user:${n}`, name: 'A user', active: true, n }),
  'a tool result of 5 KB': (n) => ({
    content: [
      {
        type: 'text',
        text: JSON.stringify(
          Array.from({ length: 24 }, (_, row) => ({ row, n, name: `item ${row}`, price: row * 1.25 })),
        ),
      },
    ],
    structuredContent: {
      rows: Array.from({ length: 40 }, (_, row) => ({
        id: `row-${row}`,
        name: `The item number ${row}`,
        price: row * 9.99,
      })),
    },
  }),
};

/** A hit in Redis beside what it is made of, and loads among processes. */
export async function runCacheRedisBench(): Promise<void> {
  const service = await startRedis({ external: false });
  try {
    const goals: Goal[] = [];
    for (const [name, makeValue] of Object.entries(VALUES))
      goals.push(...(await hitGoals(service.url, name, makeValue)));
    goals.push(...(await stampedeGoals(service.url)));
    printGoals(goals);
  } finally {
    await service[Symbol.asyncDispose]();
  }
}

/** Each read comes from Redis, and goes into memory. */
async function hitGoals(url: string, name: string, makeValue: (n: number) => unknown): Promise<Goal[]> {
  const client = new Redis(url);
  await client.flushall();
  const remote = new RedisTier({ client, prefix: 'ours:', commandTimeoutMs: 30_000 });
  // One entry: each of the others has left memory when it is asked for again.
  const ours = new Cache({ remote, maxEntries: 1, ttlMs: TTL_MS });
  const bento = new BentoCache({
    default: 'redis',
    stores: { redis: bentostore().useL2Layer(redisDriver({ connection: client, prefix: 'bento' })) },
  });
  const keys = Array.from({ length: KEYS }, (_, n) => `key:${n}`);
  for (const [n, key] of keys.entries()) {
    const value = makeValue(n);
    await client.set(`bare:${key}`, JSON.stringify(value));
    await ours.set(key, value);
    await bento.set({ key, value, ttl: TTL_MS });
  }
  const notLoaded = () => Promise.reject(new Error('a hit is not loaded'));
  const contenders = new Map<string, (key: string) => Promise<unknown>>([
    [BARE, async (key) => JSON.parse((await client.get(`bare:${key}`)) as string)],
    ['@x/cache get', (key) => ours.get(key)],
    ['@x/cache getOrSet', (key) => ours.getOrSet(key, notLoaded)],
    ['bentocache getOrSet', (key) => bento.getOrSet({ key, ttl: TTL_MS, factory: notLoaded })],
  ]);
  const goals: Goal[] = [];
  for (const [way, callers] of WAYS) {
    const slices = await slicesOf(contenders, keys, callers);
    console.log(`\na hit in Redis, ${name}, ${way}: us, times the first (medians of ${ROUNDS} rounds)`);
    const bare = slices.get(BARE) as number[];
    for (const [contender, all] of slices) {
      const times = median(all.map((us, round) => us / (bare[round] as number)));
      console.log(`  ${contender}: ${median(all).toFixed(1)}  ${times.toFixed(2)}`);
      if (contender.startsWith('@x/cache')) {
        goals.push({ what: `${contender}, hit in Redis / ${BARE} (${name}, ${way})`, atMost: 1.2, measured: times });
      }
    }
  }
  await ours.close();
  client.disconnect();
  return goals;
}

/**
 * Microseconds for each call, by contender and round. They take turns in slices of a few milliseconds, another first each time, and are
 * compared within a round: what disturbs the machine disturbs all of them, and nobody always pays for another's garbage.
 */
async function slicesOf(
  contenders: ReadonlyMap<string, (key: string) => Promise<unknown>>,
  keys: readonly string[],
  callers: number,
): Promise<Map<string, number[]>> {
  const slices = new Map<string, number[]>([...contenders.keys()].map((name) => [name, []]));
  const turns = [...contenders];
  for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
    turns.push(...turns.splice(0, 1));
    for (const [name, call] of turns) {
      const startedAt = performance.now();
      if (callers === 1) for (const key of keys) await call(key);
      else for (let n = 0; n < KEYS; n += callers) await Promise.all(keys.slice(n, n + callers).map(call));
      if (round >= 0) slices.get(name)?.push(((performance.now() - startedAt) * 1_000) / KEYS);
    }
  }
  return slices;
}

/** How often a cold key is loaded for processes that all ask for it at once. */
async function stampedeGoals(url: string): Promise<Goal[]> {
  const client = new Redis(url);
  const processes = await Promise.all(Array.from({ length: PROCESSES }, () => startProcess(url)));
  const most = new Map<string, number>();
  for (let round = 0; round < 5; round++) {
    for (const library of ['@x/cache', 'bentocache']) {
      const key = `cold ${library} ${round}`;
      await Promise.all(processes.map((child) => ask(child, { library, key, callers: CALLERS })));
      most.set(library, Math.max(most.get(library) ?? 0, Number(await client.get(`loads:${key}`))));
    }
  }
  for (const child of processes) child.disconnect();
  client.disconnect();
  console.log(`\nloads of a cold key for ${PROCESSES} processes of ${CALLERS} callers each (most of 5 rounds)`);
  for (const [library, loads] of most) console.log(`  ${library}: ${loads}`);
  return [
    {
      what: `loads for ${PROCESSES} processes of ${CALLERS} cold callers each`,
      atMost: 1,
      measured: most.get('@x/cache') as number,
    },
  ];
}

async function startProcess(url: string): Promise<ChildProcess> {
  const child = fork(join(import.meta.dirname, 'cache-redis-process.js'), [url], { execArgv: [] });
  await answer(child);
  return child;
}

function ask(child: ChildProcess, work: { library: string; key: string; callers: number }): Promise<unknown> {
  const answered = answer(child);
  child.send(work);
  return answered;
}

function answer(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    child.once('message', resolve);
    const ended = () => reject(new Error('a process of the benchmark ended'));
    child.once('exit', ended);
    child.once('message', () => child.off('exit', ended));
  });
}
