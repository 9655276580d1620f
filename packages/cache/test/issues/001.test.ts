import { Cache } from '@x/cache';
import { type RedisClient, RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { TcpProxy } from '@x/testkit';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

// A tagged set awaited the index of its tags before the value was sent, so that commands of later calls overtook it.

let service: Awaited<ReturnType<typeof startRedis>>;
let slowly: TcpProxy;
const clients: Redis[] = [];

beforeAll(async () => {
  service = await startRedis();
  slowly = await TcpProxy.start(service.url);
  slowly.faults.delayMs = 15;
});
afterAll(async () => {
  await slowly?.[Symbol.asyncDispose]();
  await service?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await connect().flushall();
});
afterEach(() => {
  for (const client of clients.splice(0)) client.disconnect();
});

function connect(url = service.url): Redis {
  const client = new Redis(url);
  clients.push(client);
  return client;
}

/** Keys on two nodes, one of them slow to reach; as on a cluster, a command goes to the node of its key. */
class TwoNodes implements RedisClient {
  readonly status = 'ready';
  readonly #nodes = [connect(), connect(slowly.through(service.url))] as const;
  readonly #slowIsTag: boolean;

  constructor(slowIsTag: boolean) {
    this.#slowIsTag = slowIsTag;
  }

  call(command: string, ...args: (string | number | Buffer)[]): Promise<unknown> {
    return this.#nodeOf(command, args).call(command, ...args);
  }

  callBuffer(command: string, ...args: (string | number | Buffer)[]): Promise<unknown> {
    return this.#nodeOf(command, args).callBuffer(command, ...args);
  }

  #nodeOf(command: string, args: readonly unknown[]): Redis {
    if (command.startsWith('EVAL') && args[1] !== 1) throw new Error('CROSSSLOT');
    const key = String(command.startsWith('EVAL') ? args[2] : args[0]);
    const slow = key.startsWith('tag|') === this.#slowIsTag;
    return this.#nodes[slow ? 1 : 0];
  }

  nodes(): Redis[] {
    return [this.#nodes[0]];
  }
}

describe.each<[string, () => RedisClient]>([
  ['one server', () => connect()],
  ['a cluster whose tags are slow to reach', () => new TwoNodes(true)],
  ['a cluster whose values are slow to reach', () => new TwoNodes(false)],
])('on %s the order of calls is the order in Redis', (_, makeClient) => {
  const tags = ['t'];
  const many = [...Array.from({ length: 1_200 }, (_, n) => `k${n}`), 'k'];
  const cacheOver = (client: RedisClient) =>
    new Cache({ remote: new RedisTier({ client, commandTimeoutMs: 30_000 }), ttlMs: 60_000 });
  /** What another process finds. */
  const elsewhere = (key: string) => cacheOver(connect()).get(key);

  test.each<[string, (cache: Cache) => Promise<unknown>[], unknown]>([
    ['set, delete', (cache) => [cache.set('k', 'old', { tags }), cache.delete('k')], undefined],
    ['set, delete of many', (cache) => [cache.set('k', 'old', { tags }), cache.delete(['x', 'k'])], undefined],
    ['set, deleteByTag', (cache) => [cache.set('k', 'old', { tags }), cache.deleteByTag('t')], undefined],
    ['set, deleteByPattern', (cache) => [cache.set('k', 'old', { tags }), cache.deleteByPattern('k*')], undefined],
    ['set, clear', (cache) => [cache.set('k', 'old', { tags }), cache.clear()], undefined],
    ['set, expire', (cache) => [cache.set('k', 'old', { tags }), cache.expire('k')], undefined],
    ['set, set undefined', (cache) => [cache.set('k', 'old', { tags }), cache.set('k', undefined)], undefined],
    ['set, set without tags', (cache) => [cache.set('k', 'old', { tags }), cache.set('k', 'new')], 'new'],
    [
      'set, set with others',
      (cache) => [cache.set('k', 'old', { tags }), cache.set('k', 'new', { tags: ['u'] })],
      'new',
    ],
    ['set, set with tags', (cache) => [cache.set('k', 'old'), cache.set('k', 'new', { tags })], 'new'],
    ['delete, set', (cache) => [cache.delete('k'), cache.set('k', 'new', { tags })], 'new'],
    ['delete of very many, set', (cache) => [cache.delete(many), cache.set('k', 'new')], 'new'],
    ['expire, set', (cache) => [cache.expire('k'), cache.set('k', 'new', { tags })], 'new'],
    [
      'set, delete, set',
      (cache) => [cache.set('k', 'old', { tags }), cache.delete('k'), cache.set('k', 'new', { tags })],
      'new',
    ],
  ])('%s', async (_, calls, found) => {
    const client = makeClient();
    const cache = cacheOver(client);
    await Promise.all(calls(cache));
    expect(await cache.get('k')).toBe(found);
    expect(await elsewhere('k')).toBe(found);
    expect(cache.stats().remoteFailures).toBe(0);
  });

  test('also when the server has forgotten the scripts', async () => {
    const client = makeClient();
    const cache = cacheOver(client);
    await cache.set('warm', 1, { tags });
    await connect().script('FLUSH');
    await Promise.all([cache.set('k', 'old', { tags }), cache.deleteByTag('t')]);
    await Promise.all([cache.set('l', 'old', { tags }), cache.delete('l')]);
    expect(await elsewhere('k')).toBeUndefined();
    expect(await elsewhere('l')).toBeUndefined();
  });
});

test.each<[string, () => RedisClient]>([
  ['one server', () => connect()],
  ['a cluster', () => new TwoNodes(true)],
])('on %s a tag whose index holds something else is begun anew, and deleteByTag finds its values', async (_, make) => {
  const cache = new Cache({ remote: new RedisTier({ client: make() }) });
  await connect().set('tag|cache:t', 'not an index');
  await cache.set('k', 1, { tags: ['t'] });
  expect(await new Cache({ remote: new RedisTier({ client: connect() }) }).get('k')).toBe(1);
  await cache.deleteByTag('t');
  expect(await connect().exists('cache:k')).toBe(0);
});

test('a value whose tag could not be noted is not there to be found', async () => {
  const client = new TwoNodes(true);
  const call = client.call.bind(client);
  client.call = (command, ...args) =>
    String(args[2]).startsWith('tag|') ? Promise.reject(new Error('OOM')) : call(command, ...args);
  const cache = new Cache({ remote: new RedisTier({ client }) });
  const failures: unknown[] = [];
  cache.on('remoteFailure', ({ error }) => failures.push(error));
  await cache.set('k', 1, { tags: ['t'] });
  expect(await connect().exists('cache:k')).toBe(0);
  expect(failures).toEqual([new Error('OOM')]);
  await cache.close();
});
