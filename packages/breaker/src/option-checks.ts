/** Throws unless `value` is a whole number from `min` to `max`. */
export function checkInteger(option: string, value: number, min: number, max: number = Number.MAX_SAFE_INTEGER): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  const upTo = max === Number.MAX_SAFE_INTEGER ? `>= ${min}` : `from ${min} to ${max}`;
  throw wrongOption(option, `an integer ${upTo}`, value);
}

/** Throws unless `value` is a finite number from `min` on. */
export function checkFinite(option: string, value: number, min: number): void {
  if (!(Number.isFinite(value) && value >= min)) throw wrongOption(option, `a finite number >= ${min}`, value);
}

/** Throws unless `value` is a finite number of milliseconds above 0. */
export function checkDuration(option: string, value: number): void {
  if (!(Number.isFinite(value) && value > 0)) throw wrongOption(option, 'a finite number of milliseconds > 0', value);
}

/** Throws unless `value` is a share above 0 and at most 1. */
export function checkShare(option: string, value: number): void {
  if (!(typeof value === 'number' && value > 0 && value <= 1))
    throw wrongOption(option, 'a number > 0 and <= 1', value);
}

/** Throws unless `value` is from 0 to 1, both included. */
export function checkRatio(option: string, value: number): void {
  if (!(typeof value === 'number' && value >= 0 && value <= 1))
    throw wrongOption(option, 'a number from 0 to 1', value);
}

/** Throws unless `value` is a function. */
export function checkFunction(option: string, value: unknown): void {
  if (typeof value !== 'function') throw wrongOption(option, 'a function', value);
}

/** Throws unless `value` is a function or absent. */
export function checkOptionalFunction(option: string, value: unknown): void {
  if (value !== undefined) checkFunction(option, value);
}

/** Throws unless `value` is a string or absent. */
export function checkOptionalString(option: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'string') throw wrongOption(option, 'a string', value);
}

/** Throws unless `value` is an object (of the form that `shape` says) or absent. */
export function checkOptionalObject(option: string, shape: string, value: unknown): void {
  if (value !== undefined && (typeof value !== 'object' || value === null)) throw wrongOption(option, shape, value);
}

/** Throws unless `value` is an object with these methods. */
export function checkMethods(option: string, value: unknown, methods: readonly string[]): void {
  const object = Object(value) as Record<string, unknown>;
  if (methods.every((method) => typeof object[method] === 'function')) return;
  throw wrongOption(option, `an object with ${methods.map((method) => `${method}()`).join(' and ')}`, value);
}

/** A TypeError for the wrong kind of thing, a RangeError for a wrong number. */
export function wrongOption(option: string, expected: string, got: unknown): Error {
  const message = `@x/breaker: ${option} must be ${expected}, got ${show(got)}`;
  return typeof got === 'number' ? new RangeError(message) : new TypeError(message);
}

function show(got: unknown): string {
  if (typeof got === 'string') return `'${got}'`;
  if (typeof got !== 'object') return String(got);
  try {
    return JSON.stringify(got);
  } catch {
    // A circular one, or one with a bigint in it.
    return Object.prototype.toString.call(got);
  }
}
