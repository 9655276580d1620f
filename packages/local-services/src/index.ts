export { LocalServiceError, type LocalServiceErrorCode } from './errors.ts';
export type { LocalService } from './local-service.ts';
export { type PostgresService, type StartPostgresOptions, startPostgres } from './postgres.ts';
export { type StartRedisOptions, startRedis } from './redis.ts';
export type { StartOptions } from './start-options.ts';
