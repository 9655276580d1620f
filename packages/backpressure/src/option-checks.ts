/** Throws unless `value` is a whole number from `min`; `Infinity` passes where `allowInfinity`. */
export function checkCount(option: string, value: number, min: number, allowInfinity = false): void {
  if (Number.isInteger(value) && value >= min) return;
  if (allowInfinity && value === Number.POSITIVE_INFINITY) return;
  refuse(option, `an integer >= ${min}${allowInfinity ? ' or Infinity' : ''}`, value);
}

/** Throws unless `value` is a number of milliseconds (or any other measure) from `min` on; `Infinity` passes. */
export function checkAtLeast(option: string, value: number, min: number): void {
  if (!(typeof value === 'number' && value >= min)) refuse(option, `a number >= ${min}`, value);
}

/** Throws unless `value` is a finite number above 0. */
export function checkPositive(option: string, value: number): void {
  if (!(Number.isFinite(value) && value > 0)) refuse(option, 'a finite number > 0', value);
}

/** Throws unless `value` is between 0 and 1, both included. */
export function checkRatio(option: string, value: number): void {
  if (!(typeof value === 'number' && value >= 0 && value <= 1)) refuse(option, 'a number from 0 to 1', value);
}

/** Throws unless `value` is one of `allowed`. */
export function checkOneOf(option: string, value: string, allowed: readonly string[]): void {
  if (!allowed.includes(value)) refuse(option, `one of ${allowed.map((name) => `'${name}'`).join(', ')}`, value);
}

/** Throws unless `value` is a function. */
export function checkFunction(option: string, value: unknown): void {
  if (typeof value !== 'function') refuse(option, 'a function', value);
}

/** Throws unless `value` is a string. */
export function checkString(option: string, value: unknown): void {
  if (typeof value !== 'string') refuse(option, 'a string', value);
}

/** Throws unless `value` is a clock. */
export function checkClock(value: unknown): void {
  checkMethods('clock', value, ['now', 'setTimeout', 'clearTimeout']);
}

/** Throws unless `value` is an object with these methods. */
export function checkMethods(option: string, value: unknown, methods: readonly string[]): void {
  const object = Object(value) as Record<string, unknown>;
  if (methods.some((method) => typeof object[method] !== 'function')) {
    refuse(option, `an object with ${methods.map((method) => `${method}()`).join(' and ')}`, value);
  }
}

/** Throws what a bad option deserves: a TypeError for the wrong kind of thing, a RangeError for the wrong value. */
export function refuse(option: string, expected: string, got: unknown): never {
  const shown = typeof got === 'string' ? `'${got}'` : String(got);
  const message = `@x/backpressure: ${option} must be ${expected}, got ${shown}`;
  throw typeof got === 'number' || typeof got === 'string' ? new RangeError(message) : new TypeError(message);
}
