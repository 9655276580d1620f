import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';

let service: Awaited<ReturnType<typeof startRedis>>;
let client: Redis;
let tier: RedisTier;

beforeAll(async () => {
  service = await startRedis();
  client = new Redis(service.url);
  await client.flushall();
  tier = new RedisTier({ client, prefix: 'f:', invalidation: 'none' });
  const storedAt = Date.now();
  await tier.set('k', { value: 'v', storedAt, freshUntil: storedAt + 60_000, keepMs: 60_000, tags: [] });
});
afterAll(async () => {
  client?.disconnect();
  await service?.[Symbol.asyncDispose]();
});

test('a value of another format is a miss, be it readable otherwise', async () => {
  const ours = (await client.get('f:k')) as string;
  await client.set('f:other', `xc9V${ours.slice(4)}`);
  expect(await tier.get('k')).toMatchObject({ value: 'v' });
  expect(await tier.get('other')).toBeUndefined();
  expect(await tier.getMany(['k', 'other'])).toEqual([expect.objectContaining({ value: 'v' }), undefined]);
});

test('a value that is not the one that was read is not leased', async () => {
  expect(await tier.lease('k', undefined, [])).toEqual({ state: 'changed' });
  expect(await tier.lease('k', 'another version!', [])).toEqual({ state: 'changed' });
  const version = (await tier.get('k'))?.version;
  expect(await tier.lease('k', version, [])).toMatchObject({ state: 'granted' });
});
