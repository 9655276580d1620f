export type { Clock } from '../clock.ts';
export { PoolError, type PoolErrorCode, type PoolErrorDetails } from '../errors.ts';
export type { InsertManyOptions, InsertRow, TableName } from './insert-many.ts';
export type { LentClient } from './lent-client.ts';
export type { PostgresPoolOptions } from './pool-options.ts';
export type { PooledConnection } from './pooled-connection.ts';
export { PostgresPool, type PostgresPoolStats } from './postgres-pool.ts';
export type { PoolQueryOptions, QueryOptions, Row, Statement, StreamOptions } from './sql-runner.ts';
export type { TransactionOptions } from './transaction.ts';
