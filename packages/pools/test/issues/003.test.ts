import { startPostgres } from '@x/local-services';
import { PostgresPool } from '@x/pools/postgres';
import { expect, test } from 'vitest';

test('a password of `connection` wins over that of the connection string', async () => {
  await using server = await startPostgres();
  const wrong = new URL(server.url);
  const password = decodeURIComponent(wrong.password);
  wrong.password = 'not-the-password';
  for (const right of [password, () => password, async () => password]) {
    await using pool = new PostgresPool({ connectionString: wrong.href, connection: { password: right }, minSize: 1 });
    await pool.start();
    expect(await pool.fetchOne('select 1 as one')).toEqual({ one: 1 });
  }
});
