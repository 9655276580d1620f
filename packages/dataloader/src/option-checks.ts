/** Throws unless `value` is a whole number from `min`; `Infinity` passes. */
export function checkCount(option: string, value: number, min: number): void {
  if ((Number.isInteger(value) && value >= min) || value === Number.POSITIVE_INFINITY) return;
  throw wrongOption(option, `an integer >= ${min} or Infinity`, value);
}

/** Throws unless `value` is a finite number of milliseconds above 0. */
export function checkDuration(option: string, value: number): void {
  if (!(Number.isFinite(value) && value > 0)) throw wrongOption(option, 'a finite number of milliseconds > 0', value);
}

/** The longest that a timer can wait; Node fires at once for more. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Throws unless `value` is a number of milliseconds above 0 that a timer can wait. */
export function checkTimer(option: string, value: number): void {
  checkDuration(option, value);
  if (value > LONGEST_TIMER_MS) throw wrongOption(option, `at most ${LONGEST_TIMER_MS} milliseconds`, value);
}

/** Throws unless `value` is a boolean or absent. */
export function checkOptionalBoolean(option: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'boolean') throw wrongOption(option, 'true or false', value);
}

/** Throws unless `value` is a string or absent. */
export function checkOptionalString(option: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'string') throw wrongOption(option, 'a string', value);
}

/** Throws unless `value` is a clock. */
export function checkClock(value: unknown): void {
  const { now, setTimeout, clearTimeout } = Object(value) as Record<string, unknown>;
  if ([now, setTimeout, clearTimeout].every((method) => typeof method === 'function')) return;
  throw wrongOption('clock', 'an object with now(), setTimeout() and clearTimeout()', value);
}

/** A TypeError for the wrong kind of thing, a RangeError for a wrong number. */
export function wrongOption(option: string, expected: string, got: unknown): Error {
  const shown = typeof got === 'string' ? `'${got}'` : String(got);
  const message = `@x/dataloader: ${option} must be ${expected}, got ${shown}`;
  return typeof got === 'number' ? new RangeError(message) : new TypeError(message);
}
