export type { AdaptiveLimit } from './adaptive-limit.ts';
export { AimdLimit, type AimdLimitOptions } from './aimd-limit.ts';
export { BackpressureQueue, type BackpressureQueueOptions, type QueueStats } from './backpressure-queue.ts';
export { ClientThrottle, type ClientThrottleOptions, type ClientThrottleStats } from './client-throttle.ts';
export type { Clock } from './clock.ts';
export { ConcurrencyLimiter } from './concurrency-limiter.ts';
export { OverloadedError, type RejectReason, TimeoutError } from './errors.ts';
export { GradientLimit, type GradientLimitOptions } from './gradient-limit.ts';
export { KneeLimit, type KneeLimitOptions } from './knee-limit.ts';
export type { AcquireOptions, ConcurrencyLimiterOptions, LimiterStats, RunOptions } from './limiter-options.ts';
export {
  LoadShedder,
  type LoadShedderOptions,
  type LoadShedderStats,
  type ShedVerdict,
  type WatchedLimiter,
} from './load-shedder.ts';
export { type ItemContext, type MapLimitOptions, mapLimit, settleLimit } from './map-limit.ts';
export type { Outcome, Permit } from './permit.ts';
export {
  type ConsumeOptions,
  RateLimiter,
  type RateLimiterOptions,
  type RateLimiterStats,
  type RateLimitResult,
} from './rate-limiter.ts';
export { RetryBudget, type RetryBudgetOptions, type RetryBudgetStats } from './retry-budget.ts';
export type { RunContext } from './run-context.ts';
export type { AdaptiveLimitOptions } from './sample-window.ts';
export { VegasLimit } from './vegas-limit.ts';
export type { Priority } from './waiting-room.ts';
