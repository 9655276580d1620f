export type { Clock } from '../clock.ts';
export { PoolError, type PoolErrorCode, type PoolErrorDetails } from '../errors.ts';
export type { InsertManyOptions, InsertRow, TableName } from './insert-many.ts';
export type { PooledConnection } from './pooled-connection.ts';
export { PostgresPool, type PostgresPoolOptions, type PostgresPoolStats } from './postgres-pool.ts';
export type { PoolQueryOptions, QueryOptions, Row, StreamOptions } from './sql-runner.ts';
export type { TransactionOptions } from './transaction.ts';
