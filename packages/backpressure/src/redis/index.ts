export type { RedisClient } from './redis-client.ts';
export {
  RedisRateLimiter,
  type RedisRateLimiterOptions,
  type RedisRateLimiterStats,
  type SharedRateLimitResult,
} from './redis-rate-limiter.ts';
