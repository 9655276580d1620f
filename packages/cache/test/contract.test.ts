import type { LeaseAnswer, RemoteEntry, RemoteWrite } from '@x/cache';
import { msgpack } from '@x/cache/msgpack';
import { RedisTier, type RedisTierOptions } from '@x/cache/redis';
import { type RemoteTierFixture, remoteTierContract } from '@x/cache/testing';
import { startRedis } from '@x/local-services';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RELEASES } from './clients.ts';
import { MapStore, MapTier } from './map-tier.ts';

let service: Awaited<ReturnType<typeof startRedis>>;

beforeAll(async () => {
  service = await startRedis();
});
afterAll(async () => {
  await service?.[Symbol.asyncDispose]();
});

const WAYS: [string, Partial<RedisTierOptions>][] = [
  ['tracking', { invalidation: 'tracking' }],
  ['pubsub, MessagePack, compression', { invalidation: 'pubsub', encoding: msgpack(), compressOverBytes: 100 }],
];

describe.each(RELEASES)('RedisTier with $release keeps the contract', ({ Redis }) => {
  for (const [way, options] of WAYS) {
    const open = async (): Promise<RemoteTierFixture> => {
      const clients = [new Redis(service.url), new Redis(service.url)] as const;
      await clients[0].flushall();
      const [one, two] = clients.map(
        (client) => new RedisTier({ client, leaseMs: 300, maxLagMs: 400, commandTimeoutMs: 10_000, ...options }),
      ) as [RedisTier, RedisTier];
      const dispose = () => {
        for (const client of clients) client.disconnect();
      };
      return { one, two, dispose };
    };
    describe(way, () => {
      for (const { name, run } of remoteTierContract(open, { subscribes: true })) test(name, run);
    });
  }
});

function fixture(make: (store: MapStore) => MapTier = (store) => new MapTier(store)): RemoteTierFixture {
  const store = new MapStore();
  return { one: make(store), two: make(store), elapse: (ms) => store.clock.advance(ms) };
}

describe('a tier of maps keeps the contract', () => {
  for (const { name, run } of remoteTierContract(() => fixture(), { subscribes: true })) test(name, run);
});

class Blind extends MapTier {
  override async lease(key: string, seen: string | undefined, tags: readonly string[]): Promise<LeaseAnswer> {
    const answer = await super.lease(key, seen, tags);
    return answer.state === 'held' ? { state: 'granted', token: this.version() } : answer;
  }
}

class Overwriting extends MapTier {
  override async store(key: string, _token: string, entry: RemoteWrite): Promise<'stored'> {
    await this.set(key, entry);
    return 'stored';
  }
}

class Everlasting extends MapTier {
  override set(key: string, entry: RemoteWrite): Promise<void> {
    return super.set(key, { ...entry, keepMs: Number.POSITIVE_INFINITY });
  }
}

class Tagless extends MapTier {
  protected override note(): void {}
}

class Forgetful extends MapTier {
  override async get(key: string): Promise<RemoteEntry | undefined> {
    const found = await super.get(key);
    return found && { ...found, loadMs: undefined };
  }
}

class Unordered extends MapTier {
  override async getMany(keys: readonly string[]): Promise<(RemoteEntry | undefined)[]> {
    return (await super.getMany(keys)).filter((found) => found !== undefined);
  }
}

class Constant extends MapTier {
  protected override version(): string {
    return 'v';
  }
}

class Deleting extends MapTier {
  override async expire(keys: readonly string[]): Promise<void> {
    await this.delete(keys);
  }
}

class Unrenewed extends MapTier {
  override async renew(): Promise<void> {}
}

class Silent extends MapTier {
  protected override tell(): void {}
}

class Dead extends MapTier {
  override readonly subscribe = (listener: Parameters<NonNullable<MapTier['subscribe']>>[0]) => {
    listener.back();
    return () => {};
  };
}

class Regular extends MapTier {
  override deleteByPattern(pattern: string): Promise<number> {
    return super.deleteByPattern(pattern.replaceAll('?', '*'));
  }
}

test.each<[typeof MapTier, string]>([
  [Blind, 'one is granted'],
  [Overwriting, 'defeats a load'],
  [Everlasting, 'time to be kept'],
  [Tagless, 'deleteByTag'],
  [Forgetful, 'times and tags'],
  [Unordered, 'in order'],
  [Constant, 'version changes'],
  [Deleting, 'expire makes stale'],
  [Unrenewed, 'renewed'],
  [Silent, 'told'],
  [Dead, 'signs of life'],
  [Regular, 'pattern'],
])('%o breaks it', async (Broken, telling) => {
  const failed: string[] = [];
  for (const { name, run } of remoteTierContract(() => fixture((store) => new Broken(store)), { subscribes: true })) {
    await run().catch(() => failed.push(name));
  }
  expect(failed.join('\n')).toContain(telling);
});
