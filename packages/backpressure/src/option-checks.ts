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
  if (!allowed.includes(value)) refuseKind(option, `one of ${allowed.map((name) => `'${name}'`).join(', ')}`, value);
}

/** Throws unless `value` is a function. */
export function checkFunction(option: string, value: unknown): void {
  if (typeof value !== 'function') refuseKind(option, 'a function', value);
}

/** Throws unless `value` is a string. */
export function checkString(option: string, value: unknown): void {
  if (typeof value !== 'string') refuseKind(option, 'a string', value);
}

/** Throws unless `value` is a clock. */
export function checkClock(value: unknown): void {
  checkMethods('clock', value, ['now', 'setTimeout', 'clearTimeout']);
}

/** Throws unless `value` is an object with these methods. */
export function checkMethods(option: string, value: unknown, methods: readonly string[]): void {
  const object = Object(value) as Record<string, unknown>;
  if (methods.some((method) => typeof object[method] !== 'function')) {
    refuseKind(option, `an object with ${methods.map((method) => `${method}()`).join(' and ')}`, value);
  }
}

/** Throws unless `value` is a signal, or none. */
export function checkSignal(value: unknown): void {
  if (value === undefined || value instanceof AbortSignal) return;
  // One of another realm, or a stand-in of an older library.
  const { aborted, addEventListener, removeEventListener, throwIfAborted } = Object(value) as Record<string, unknown>;
  const methods = [addEventListener, removeEventListener, throwIfAborted];
  if (typeof aborted !== 'boolean' || methods.some((method) => typeof method !== 'function')) {
    refuseKind('signal', 'an AbortSignal', value);
  }
}

/** A TypeError for the wrong kind of thing, a RangeError for a wrong number. */
export function refuse(option: string, expected: string, got: unknown): never {
  const message = refusal(option, expected, got);
  throw typeof got === 'number' ? new RangeError(message) : new TypeError(message);
}

/** Where no number at all would do. */
function refuseKind(option: string, expected: string, got: unknown): never {
  throw new TypeError(refusal(option, expected, got));
}

function refusal(option: string, expected: string, got: unknown): string {
  const shown = typeof got === 'string' ? `'${got}'` : show(got);
  return `@x/backpressure: ${option} must be ${expected}, got ${shown}`;
}

/** Not everything can be made a string: an object without a prototype, one that throws. */
function show(got: unknown): string {
  try {
    return String(got);
  } catch {
    return 'an object';
  }
}
