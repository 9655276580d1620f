/** Node fires a longer timer at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Each returns the value, or throws an error that names package, option, what was expected and what was got. */

export function count(option: string, value: unknown): number {
  if (Number.isInteger(value) && (value as number) >= 1) return value as number;
  throw optionError(option, 'an integer >= 1', value);
}

export function duration(option: string, value: unknown): number {
  if (typeof value === 'number' && value >= 0) return value;
  throw optionError(option, 'a number of milliseconds >= 0', value);
}

/** What a timer can be set to, or Infinity for none. */
export function timeout(option: string, value: unknown): number {
  if (value === Number.POSITIVE_INFINITY || (typeof value === 'number' && value >= 0 && value <= LONGEST_TIMER_MS)) {
    return value;
  }
  throw optionError(option, `a number of milliseconds from 0 to ${LONGEST_TIMER_MS}, or Infinity`, value);
}

export function positiveDuration(option: string, value: unknown): number {
  if (typeof value === 'number' && value > 0) return value;
  throw optionError(option, 'a number of milliseconds > 0', value);
}

export function ratio(option: string, value: unknown): number {
  if (typeof value === 'number' && value >= 0 && value <= 1) return value;
  throw optionError(option, 'a number from 0 to 1', value);
}

export function share(option: string, value: unknown): number {
  if (typeof value === 'number' && value > 0 && value <= 1) return value;
  throw optionError(option, 'a number above 0 and up to 1', value);
}

/** Whether and how strongly: `true` is 1. */
export function beta(option: string, value: unknown): boolean | number {
  if (typeof value === 'boolean' || (typeof value === 'number' && value >= 0 && value <= 100)) return value;
  throw optionError(option, 'true, false, or a number from 0 to 100', value);
}

export function yesOrNo(option: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  throw optionError(option, 'true or false', value);
}

export function oneOf<T extends string>(option: string, allowed: readonly T[], value: unknown): T {
  if (allowed.includes(value as T)) return value as T;
  throw optionError(option, `one of ${allowed.map((name) => `'${name}'`).join(', ')}`, value);
}

/** What a timer that is always set can be set to. */
export function timer(option: string, value: unknown): number {
  if (typeof value === 'number' && value > 0 && value <= LONGEST_TIMER_MS) return value;
  throw optionError(option, `a number of milliseconds > 0 and <= ${LONGEST_TIMER_MS}`, value);
}

/** A string that is not empty. */
export function text(option: string, value: unknown): string {
  if (typeof value === 'string' && value !== '') return value;
  throw optionError(option, 'a string that is not empty', value);
}

export function list<T>(option: string, value: T): T {
  if (Array.isArray(value)) return value;
  throw optionError(option, 'an array of strings', value);
}

/** Names, none of them empty. */
export function listOfText(option: string, value: unknown): readonly string[] {
  const names = list(option, value) as readonly unknown[];
  for (const name of names) {
    if (typeof name !== 'string' || name === '')
      throw optionError(option, 'an array of strings that are not empty', [name]);
  }
  return names as readonly string[];
}

export function callable<T>(option: string, value: T): T {
  if (typeof value === 'function') return value;
  throw optionError(option, 'a function', value);
}

/** An object with these methods. */
export function having<T>(option: string, methods: readonly string[], value: T): T {
  const object = Object(value) as Record<string, unknown>;
  if (methods.every((method) => typeof object[method] === 'function')) return value;
  throw optionError(option, `an object with ${methods.map((method) => `${method}()`).join(', ')}`, value);
}

/** The object that holds the options. */
export function bag<T>(option: string, value: T): T {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw optionError(option, 'an object', value);
}

/** The check of an option that may be absent; only `undefined` is. */
export function optional<T>(
  check: (option: string, value: unknown) => T,
  option: string,
  value: unknown,
): T | undefined {
  return value === undefined ? undefined : check(option, value);
}

export function optionError(option: string, expected: string, got: unknown): Error {
  const shown = show(got);
  const message = `@x/cache: ${option} must be ${expected}, got ${shown}`;
  return typeof got === 'number' ? new RangeError(message) : new TypeError(message);
}

function show(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value === 'string') return `'${value}'`;
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return `[${value.map(show).join(', ')}]`;
  return typeof value === 'object' ? (value.constructor?.name ?? 'an object') : String(value);
}
