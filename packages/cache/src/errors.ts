/** The cache was closed; nothing is loaded or stored any more. */
export class CacheClosedError extends Error {
  override readonly name = 'CacheClosedError';
  readonly code = 'ERR_CLOSED';

  constructor(cacheName: string) {
    super(`@x/cache: the cache "${cacheName}" is closed`);
  }
}

/** A loader took longer than `loadTimeoutMs`. Its signal was aborted; what it still returns is thrown away. */
export class LoadTimeoutError extends Error {
  override readonly name = 'LoadTimeoutError';
  readonly code = 'ERR_TIMEOUT';

  constructor(key: string, timeoutMs: number) {
    super(
      `@x/cache: the load of "${key.length > 100 ? `${key.slice(0, 100)}…` : key}" took longer than ${timeoutMs} ms`,
    );
  }
}

/** So many loads run already that `maxLoads` lets no further one begin, and nothing stale is kept. */
export class CacheOverloadedError extends Error {
  override readonly name = 'CacheOverloadedError';
  readonly code = 'ERR_OVERLOADED';

  constructor(maxLoads: number) {
    super(`@x/cache: ${maxLoads} loads run already, and maxLoads lets no more begin`);
  }
}
