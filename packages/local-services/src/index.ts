export { LocalServiceError, type LocalServiceErrorCode } from './errors.ts';
export type { LocalService, StartOptions } from './local-service.ts';
export { type PostgresService, type StartPostgresOptions, startPostgres } from './postgres.ts';
export { type StartRedisOptions, startRedis } from './redis.ts';
