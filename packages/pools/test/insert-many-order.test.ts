import type { InsertManyOptions, Row } from '@x/pools/postgres';
import { expect, it } from 'vitest';

it('rows that the server returns in another order come back in that of the input', async () => {
  // No PostgreSQL of today returns them in another order, and none promises not to: the server is played here.
  const { insertMany } = (await import(new URL('../src/postgres/insert-many.ts', import.meta.url).href)) as {
    insertMany(
      runner: unknown,
      table: string,
      columns: string[],
      rows: unknown[][],
      options: InsertManyOptions,
    ): Promise<Row[]>;
  };
  const runner = {
    fetch: async () => [{ name: 'n', type: 'integer', version: 180_000, mergeable: true }],
    query: async (_sql: string, params: number[]) => {
      const rows = params.map((n, i) => ({ '@x/pools row': i, id: n * 10 }));
      return { rows: rows.reverse(), rowCount: rows.length };
    },
  };
  const rows = Array.from({ length: 7_000 }, (_, n) => [n]);
  const back = await insertMany(runner, 't', ['n'], rows, { returning: ['id'] });
  expect(back).toEqual(rows.map(([n]) => ({ id: (n ?? 0) * 10 })));
});
