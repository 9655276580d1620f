/** Each returns the value, or throws an error that names package, option, what was expected and what was got. */

export function count(option: string, value: number): number {
  if (Number.isInteger(value) && value >= 1) return value;
  throw optionError(option, 'an integer >= 1', value);
}

export function duration(option: string, value: number): number {
  if (typeof value === 'number' && value >= 0) return value;
  throw optionError(option, 'a number of milliseconds >= 0', value);
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
