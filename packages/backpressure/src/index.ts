export type { AdaptiveLimit } from './adaptive-limit.ts';
export { BackpressureQueue, type BackpressureQueueOptions, type QueueStats } from './backpressure-queue.ts';
export type { Clock } from './clock.ts';
export {
  type AcquireOptions,
  ConcurrencyLimiter,
  type ConcurrencyLimiterOptions,
  type LimiterStats,
  type RunOptions,
} from './concurrency-limiter.ts';
export { OverloadedError, type RejectReason, TimeoutError } from './errors.ts';
export { type ItemContext, type MapLimitOptions, mapLimit, settleLimit } from './map-limit.ts';
export type { Outcome, Permit } from './permit.ts';
export {
  type ConsumeOptions,
  RateLimiter,
  type RateLimiterOptions,
  type RateLimiterStats,
  type RateLimitResult,
} from './rate-limiter.ts';
export type { RunContext } from './run-context.ts';
export type { Priority } from './waiting-room.ts';
