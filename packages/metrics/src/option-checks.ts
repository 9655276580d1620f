import { isWord } from './bounded-label.ts';

export function checkPrefix(prefix: string): void {
  if (typeof prefix !== 'string' || !/^([a-zA-Z_][a-zA-Z0-9_]*)?$/.test(prefix))
    throw new RangeError(
      `@x/metrics: prefix must be letters, digits and _, not beginning with a digit, got ${show(prefix)}`,
    );
}

export function checkBuckets(buckets: readonly number[]): void {
  const ascending =
    Array.isArray(buckets) &&
    buckets.length > 0 &&
    buckets.every((bound, index) => Number.isFinite(bound) && bound > (buckets[index - 1] ?? 0));
  if (!ascending)
    throw new RangeError(`@x/metrics: buckets must be finite seconds > 0 in ascending order, got ${show(buckets)}`);
}

export function checkRefusalCodes(codes: readonly string[]): void {
  if (!Array.isArray(codes) || !codes.every(isWord))
    throw new RangeError(
      `@x/metrics: refusalCodes must be words of at most 64 letters, digits, _ . : -, got ${show(codes)}`,
    );
}

export function checkCount(option: string, value: number, min: number): void {
  if (!Number.isInteger(value) || value < min)
    throw new RangeError(`@x/metrics: ${option} must be an integer >= ${min}, got ${show(value)}`);
}

export function checkFunction(option: string, value: unknown): void {
  if (typeof value !== 'function') throw new TypeError(`@x/metrics: ${option} must be a function, got ${show(value)}`);
}

export function checkMethods(option: string, value: unknown, methods: readonly string[]): void {
  const object = Object(value) as Record<string, unknown>;
  if (methods.some((method) => typeof object[method] !== 'function'))
    throw new TypeError(
      `@x/metrics: ${option} must be an object with ${methods.map((method) => `${method}()`).join(', ')}, got ${show(value)}`,
    );
}

export function checkName(method: string, name: string): void {
  if (typeof name !== 'string' || name === '')
    throw new TypeError(`@x/metrics: ${method} name must be a string that is not empty, got ${show(name)}`);
}

export function checkKind(kind: string, kinds: readonly string[]): void {
  if (!kinds.includes(kind))
    throw new RangeError(`@x/metrics: observe kind must be one of ${kinds.join(', ')}, got ${show(kind)}`);
}

export function checkThing(kind: string, name: string, thing: { stats: unknown }): void {
  if (typeof thing?.stats !== 'function')
    throw new TypeError(`@x/metrics: observe ${kind} "${name}" must have a function stats(), got ${show(thing)}`);
}

function show(value: unknown): string {
  return typeof value === 'string' || Array.isArray(value) ? JSON.stringify(value) : String(value);
}
