export type { RedisClient } from './redis-client.ts';
export { RedisRateLimiter, type RedisRateLimiterOptions, type RedisRateLimiterStats } from './redis-rate-limiter.ts';
