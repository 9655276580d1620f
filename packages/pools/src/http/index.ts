export type { Clock } from '../clock.ts';
export { PoolError, type PoolErrorCode, type PoolErrorDetails } from '../errors.ts';
export type { EgressPolicy, LookupAll } from './egress.ts';
export type { HedgePolicy } from './hedge.ts';
export { HttpPool, type HttpPoolStats } from './http-pool.ts';
export type { HttpPoolOptions } from './pool-options.ts';
export type { HttpRequestOptions } from './request.ts';
export type { HttpResponse } from './response.ts';
export type { RetryPolicy } from './retry.ts';
