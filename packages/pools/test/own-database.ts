import { type PostgresService, startPostgres } from '@x/local-services';
import { PostgresPool, type PostgresPoolOptions } from '@x/pools/postgres';
import { afterAll, beforeAll } from 'vitest';

/** A database for the tests of one file: gives what opens a pool of one connection to it, or of what the test wants. */
export function ownDatabase(): (options?: PostgresPoolOptions) => PostgresPool {
  let postgres: PostgresService | undefined;
  let connectionString = '';
  beforeAll(async () => {
    postgres = await startPostgres();
    connectionString = await postgres.createDatabase();
  });
  afterAll(() => postgres?.[Symbol.asyncDispose]());
  return (options) => new PostgresPool({ connectionString, minSize: 1, maxSize: 1, ...options });
}
