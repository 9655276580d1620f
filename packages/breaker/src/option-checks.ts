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
  if (!(value > 0 && value <= 1)) throw wrongOption(option, 'a number > 0 and <= 1', value);
}

/** Throws unless `value` is a function or absent. */
export function checkOptionalFunction(option: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'function') throw wrongOption(option, 'a function', value);
}

/** A TypeError for the wrong kind of thing, a RangeError for a wrong number. */
export function wrongOption(option: string, expected: string, got: unknown): Error {
  const shown = typeof got === 'string' ? `'${got}'` : typeof got === 'object' ? JSON.stringify(got) : String(got);
  const message = `@x/breaker: ${option} must be ${expected}, got ${shown}`;
  return typeof got === 'number' ? new RangeError(message) : new TypeError(message);
}
