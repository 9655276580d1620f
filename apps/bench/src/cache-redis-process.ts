// One of the processes of cache-redis.bench.ts that ask for a cold key at once.
import { setTimeout as sleep } from 'node:timers/promises';
import { Cache } from '@x/cache';
import { RedisTier } from '@x/cache/redis';
import { BentoCache, bentostore } from 'bentocache';
import { memoryDriver } from 'bentocache/drivers/memory';
import { redisDriver } from 'bentocache/drivers/redis';
import { Redis } from 'ioredis';

const client = new Redis(process.argv[2] as string);
const ours = new Cache({ remote: new RedisTier({ client, prefix: 'processes:' }) });
const bento = new BentoCache({
  default: 'both',
  stores: {
    both: bentostore()
      .useL1Layer(memoryDriver({ maxItems: 1_000 }))
      .useL2Layer(redisDriver({ connection: client, prefix: 'bento-processes' })),
  },
});

async function load(key: string): Promise<string> {
  await client.incr(`loads:${key}`);
  await sleep(50);
  return 'loaded';
}

process.on('message', async ({ library, key, callers }: { library: string; key: string; callers: number }) => {
  const call =
    library === '@x/cache'
      ? () => ours.getOrSet(key, () => load(key))
      : () => bento.getOrSet({ key, ttl: 60_000, factory: () => load(key) });
  await Promise.all(Array.from({ length: callers }, call));
  process.send?.('done');
});
process.on('disconnect', () => process.exit(0));
await client.ping();
process.send?.('ready');
