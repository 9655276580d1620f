export { type CacheHint, cacheHint, withCacheHint } from './cache-hint.ts';
export { type CachedToolOptions, cachedTool, type ToolHandler } from './cached-tool.ts';
export { identify } from './identify.ts';
export {
  type ResponseCacheEntry,
  type ResponseCacheKey,
  type ResponseCacheStore,
  type ResponseCacheStoreOptions,
  responseCacheStore,
} from './response-cache-store.ts';
