export type { Clock } from './clock.ts';
export { PoolError, type PoolErrorCode, type PoolErrorDetails } from './errors.ts';
