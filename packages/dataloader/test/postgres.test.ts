import { createLoaders, DataLoader } from '@x/dataloader';
import { startPostgres } from '@x/local-services';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let service: Awaited<ReturnType<typeof startPostgres>>;
let pool: pg.Pool;
let queries = 0;

beforeAll(async () => {
  service = await startPostgres();
  pool = new pg.Pool({ connectionString: service.url, max: 4 });
  await pool.query('CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL)');
  await pool.query("INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 1000) AS n");
});

afterAll(async () => {
  await pool?.end();
  await service?.[Symbol.asyncDispose]();
});

async function usersById(ids: readonly number[]): Promise<Map<number, string>> {
  queries += 1;
  const { rows } = await pool.query<{ id: number; name: string }>('SELECT id, name FROM users WHERE id = ANY($1)', [
    ids,
  ]);
  return new Map(rows.map(({ id, name }) => [id, name]));
}

describe('on a real PostgreSQL', () => {
  it.each([1_000, 300, 64])('1,000 concurrent loads make ceil(1000 / %i) queries', async (maxBatchSize) => {
    queries = 0;
    const loader = new DataLoader<number, string>(usersById, { maxBatchSize, maxConcurrentBatches: 2 });
    const names = await Promise.all(Array.from({ length: 1_000 }, (_, i) => loader.load(i + 1)));
    expect(names).toEqual(Array.from({ length: 1_000 }, (_, i) => `user ${i + 1}`));
    expect(queries).toBe(Math.ceil(1_000 / maxBatchSize));
  });

  it('20 requests share one query, and an unknown id is undefined for its own caller only', async () => {
    queries = 0;
    const loaders = createLoaders(() => ({
      users: new DataLoader<number, string | undefined>(usersById, { schedule: 'immediate' }),
    }));
    const names = await Promise.all(Array.from({ length: 20 }, (_, i) => loaders.for({}).users.load(i)));
    expect(names[0]).toBeUndefined();
    expect(names.slice(1)).toEqual(Array.from({ length: 19 }, (_, i) => `user ${i + 1}`));
    expect(queries).toBe(1);
  });

  it('a query that fails fails its callers and is not kept', async () => {
    const loader = new DataLoader<string, string>(async (ids) => {
      const { rows } = await pool.query<{ id: string; name: string }>(
        'SELECT id, name FROM users WHERE id = ANY($1::int[])',
        [ids],
      );
      return new Map(rows.map(({ id, name }) => [String(id), name]));
    });
    await expect(Promise.all([loader.load('1'), loader.load('not a number')])).rejects.toMatchObject({ code: '22P02' });
    await expect(loader.load('1')).resolves.toBe('user 1');
  });
});
