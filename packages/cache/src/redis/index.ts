export { RedisUnavailableError } from './redis-circuit.ts';
export type { RedisClient, RedisNode } from './redis-client.ts';
export { RedisTier, type RedisTierStats } from './redis-tier.ts';
export type { RedisTierOptions } from './redis-tier-options.ts';
export type { ValueEncoding } from './value-encoding.ts';
