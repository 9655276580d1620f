import { type LocalService, type PostgresService, startPostgres, startRedis } from '@x/local-services';
import { Redis } from 'ioredis';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';

// A server is slow to start on a busy machine.
vi.setConfig({ testTimeout: 60_000 });

let postgres: PostgresService;
let redis: LocalService;
beforeAll(async () => {
  [postgres, redis] = await Promise.all([startPostgres({ external: false }), startRedis({ external: false })]);
});
afterAll(() => Promise.all([postgres[Symbol.asyncDispose](), redis[Symbol.asyncDispose]()]));
afterEach(() => vi.unstubAllEnvs());

async function databases(): Promise<string[]> {
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  const { rows } = await client.query<{ datname: string }>(
    "SELECT datname FROM pg_database WHERE datname LIKE 'db\\_%'",
  );
  await client.end();
  return rows.map(({ datname }) => datname);
}

describe('a server given by the environment', () => {
  it('is used, and not ours to hurt', async () => {
    vi.stubEnv('DATABASE_URL', postgres.url);
    vi.stubEnv('REDIS_URL', redis.url);
    for (const [service, given] of [
      [await startPostgres(), postgres],
      [await startRedis(), redis],
    ] as const) {
      expect(service.external).toBe(true);
      expect(service.url).toBe(given.url);
      for (const command of ['kill', 'pause', 'resume', 'restart'] as const) {
        await expect(service[command]()).rejects.toMatchObject({ code: 'ERR_EXTERNAL_SERVICE' });
      }
      await service[Symbol.asyncDispose]();
    }
    const client = new Redis(redis.url);
    expect(await client.ping()).toBe('PONG');
    client.disconnect();
  });

  it('keeps none of the databases that were made, even with clients in them', async () => {
    vi.stubEnv('DATABASE_URL', postgres.url);
    const service = await startPostgres();
    const url = await service.createDatabase();
    const unfinished = service.createDatabase();
    const client = new pg.Client({ connectionString: url });
    client.on('error', () => {});
    await client.connect();
    expect(await databases()).toContain(new URL(url).pathname.slice(1));
    await service[Symbol.asyncDispose]();
    await service[Symbol.asyncDispose]();
    await unfinished;
    expect(await databases()).toEqual([]);
  });

  it('is passed over where a test says so', async () => {
    vi.stubEnv('REDIS_URL', 'redis://127.0.0.1:1');
    await using service = await startRedis({ external: false });
    expect(service.external).toBe(false);
  });

  it('is refused when it does not answer', async () => {
    vi.stubEnv('DATABASE_URL', 'postgres://postgres@127.0.0.1:1/postgres');
    vi.stubEnv('REDIS_URL', 'redis://127.0.0.1:1');
    await expect(startPostgres()).rejects.toThrow(/DATABASE_URL does not answer.*ECONNREFUSED/);
    await expect(startRedis()).rejects.toThrow(/REDIS_URL does not answer.*ECONNREFUSED/);
    const wrong = new URL(redis.url);
    wrong.password = 'wrong';
    vi.stubEnv('REDIS_URL', wrong.href);
    await expect(startRedis()).rejects.toThrow(/WRONGPASS/);
  });
});
