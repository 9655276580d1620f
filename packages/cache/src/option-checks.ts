/** Node fires a longer timer at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Each returns the value, or throws an error that names package, option, what was expected and what was got. */

export function count(option: string, value: number): number {
  if (Number.isInteger(value) && value >= 1) return value;
  throw optionError(option, 'an integer >= 1', value);
}

export function duration(option: string, value: number): number {
  if (typeof value === 'number' && value >= 0) return value;
  throw optionError(option, 'a number of milliseconds >= 0', value);
}

/** What a timer can be set to, or Infinity for none. */
export function timeout(option: string, value: number): number {
  if (value === Number.POSITIVE_INFINITY || (typeof value === 'number' && value >= 0 && value <= LONGEST_TIMER_MS)) {
    return value;
  }
  throw optionError(option, `a number of milliseconds from 0 to ${LONGEST_TIMER_MS}, or Infinity`, value);
}

export function positiveDuration(option: string, value: number): number {
  if (typeof value === 'number' && value > 0) return value;
  throw optionError(option, 'a number of milliseconds > 0', value);
}

export function ratio(option: string, value: number): number {
  if (typeof value === 'number' && value >= 0 && value <= 1) return value;
  throw optionError(option, 'a number from 0 to 1', value);
}

export function oneOf<T extends string>(option: string, allowed: readonly T[], value: T): T {
  if (allowed.includes(value)) return value;
  throw optionError(option, `one of ${allowed.map((name) => `'${name}'`).join(', ')}`, value);
}

function optionError(option: string, expected: string, got: unknown): Error {
  const shown = typeof got === 'string' ? `'${got}'` : typeof got === 'object' ? kind(got) : String(got);
  const message = `@x/cache: ${option} must be ${expected}, got ${shown}`;
  return typeof got === 'number' ? new RangeError(message) : new TypeError(message);
}

function kind(value: object | null): string {
  return value === null ? 'null' : (value.constructor?.name ?? 'an object');
}
