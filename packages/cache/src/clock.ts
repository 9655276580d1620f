/** Where time comes from. Tests give one that they move by hand. */
export interface Clock {
  /** Monotonic time in milliseconds. */
  now(): number;
  /** Milliseconds since 1970; read only for what crosses processes. */
  wallNow?(): number;
  setTimeout(fn: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

/**
 * The process's own clock and timers. Timers are looked up at each call, so that fake ones work; `performance` only here, since the
 * global is a getter whose look-up costs a hit in memory a tenth: what was made before time was faked keeps the real one.
 */
export function systemClock(): Clock {
  const { performance } = globalThis;
  return {
    now: () => performance.now(),
    wallNow: () => Date.now(),
    setTimeout: (fn, ms) => setTimeout(fn, ms),
    clearTimeout: (timer) => clearTimeout(timer as Parameters<typeof clearTimeout>[0]),
  };
}
