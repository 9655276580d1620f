export type { RedisClient } from './redis-client.ts';
export { RedisSharedState, type RedisSharedStateOptions, type RedisSharedStateStats } from './redis-shared-state.ts';
