import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import { Cache } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { BentoCache, bentostore } from 'bentocache';
import { redisDriver } from 'bentocache/drivers/redis';
import { Redis } from 'ioredis';
import { type Goal, printGoals } from './cache-goals.ts';

const KEYS = 256;
const ROUNDS = 60;
const TTL_MS = 600_000;
const PROCESSES = 3;
const CALLERS = 20;

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

/** Every contender in each round, so that what disturbs the machine disturbs all of them. Each read comes from Redis, and goes into memory. */
async function hitGoals(url: string, name: string, makeValue: (n: number) => unknown): Promise<Goal[]> {
  const client = new Redis(url);
  await client.flushall();
  const over = (prefix: string) => new RedisTier({ client, prefix, commandTimeoutMs: 30_000 });
  // One entry: each of the others has left memory when it is asked for again.
  const ours = new Cache({ remote: over('ours:'), maxEntries: 1, ttlMs: TTL_MS });
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
  const contenders: Record<string, (key: string) => Promise<unknown>> = {
    'ioredis GET + JSON.parse': async (key) => JSON.parse((await client.get(`bare:${key}`)) as string),
    '@x/cache get': (key) => ours.get(key),
    '@x/cache getOrSet': (key) => ours.getOrSet(key, notLoaded),
    'bentocache getOrSet': (key) => bento.getOrSet({ key, ttl: TTL_MS, factory: notLoaded }),
  };
  const passes: Record<string, (call: (key: string) => Promise<unknown>) => Promise<unknown>> = {
    'one after the other': async (call) => {
      for (const key of keys) await call(key);
    },
    '16 at a time': async (call) => {
      for (let n = 0; n < KEYS; n += 16) await Promise.all(keys.slice(n, n + 16).map(call));
    },
  };
  const goals: Goal[] = [];
  for (const [way, pass] of Object.entries(passes)) {
    const times = new Map<string, number[]>();
    for (let round = 0; round < ROUNDS; round++) {
      for (const [contender, call] of Object.entries(contenders)) {
        const startedAt = performance.now();
        await pass(call);
        const all = times.get(contender) ?? [];
        times.set(contender, all);
        // The first rounds are for the compiler.
        if (round >= 10) all.push(((performance.now() - startedAt) * 1_000) / KEYS);
      }
    }
    console.log(`\na hit in Redis, ${name}, ${way}: us (lower quartile of ${ROUNDS - 10} rounds), times the first`);
    const bare = quartile(times.get('ioredis GET + JSON.parse'));
    for (const [contender, all] of times) {
      const us = quartile(all);
      console.log(`  ${contender}: ${us.toFixed(1)}  ${(us / bare).toFixed(2)}`);
    }
    goals.push({
      what: `hit in Redis / ioredis GET + JSON.parse (${name}, ${way})`,
      atMost: 1.2,
      measured: quartile(times.get('@x/cache get')) / bare,
    });
  }
  await ours.close();
  client.disconnect();
  return goals;
}

function quartile(times: readonly number[] = []): number {
  return [...times].sort((a, b) => a - b)[Math.floor(times.length / 4)] ?? Number.NaN;
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
