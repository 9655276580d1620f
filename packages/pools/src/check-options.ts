/** Throws unless `value` is a finite number (an integer, where asked) from `min` to `max`; `undefined` gives `fallback`. */
export function numberOption(
  owner: string,
  option: string,
  value: number | undefined,
  fallback: number,
  rule: { min: number; max?: number; integer?: boolean; infinity?: boolean },
): number {
  if (value === undefined) return fallback;
  const max = rule.max ?? (rule.infinity ? Number.POSITIVE_INFINITY : Number.MAX_VALUE);
  if (typeof value === 'number' && value >= rule.min && value <= max) {
    if (!rule.integer || Number.isInteger(value) || !Number.isFinite(value)) return value;
  }
  const upTo = rule.max === undefined ? '' : ` and <= ${rule.max}`;
  const wanted = `${rule.integer ? 'an integer' : 'a number'} >= ${rule.min}${upTo}${rule.infinity ? ' or Infinity' : ''}`;
  const got = typeof value === 'string' ? JSON.stringify(value) : inWords(value);
  const refusal = `@x/pools: ${owner}.${option} must be ${wanted}, got ${got}`;
  throw typeof value === 'number' ? new RangeError(refusal) : new TypeError(refusal);
}

/** The error for what is not of the kind it must be. */
export function wrongType(what: string, wanted: string, got: unknown): TypeError {
  return new TypeError(`@x/pools: ${what} must be ${wanted}, got ${inWords(got)}`);
}

/** Throws unless what a call was given beside its arguments is an object, and its signal, if there is one, an AbortSignal. */
export function checkCallOptions(owner: string, options: object): void {
  if (typeof options !== 'object' || options === null) throw wrongType(`${owner}.options`, 'an object', options);
  const { signal } = options as { signal?: unknown };
  if (signal !== undefined && !isSignal(signal)) throw wrongType(`${owner}.signal`, 'an AbortSignal', signal);
}

export function checkFunction(what: string, value: unknown): void {
  if (typeof value !== 'function') throw wrongType(what, 'a function', value);
}

/** By what it can do: some come from another realm. */
function isSignal(value: unknown): boolean {
  const { aborted, addEventListener } = (value ?? {}) as { aborted?: unknown; addEventListener?: unknown };
  return typeof aborted === 'boolean' && typeof addEventListener === 'function';
}

/** Numbers and the like as they are written; of anything else only the kind, since a string may be a secret. */
function inWords(value: unknown): string {
  switch (typeof value) {
    case 'object':
      return value === null ? 'null' : Array.isArray(value) ? 'an array' : 'an object';
    case 'string':
    case 'function':
    case 'symbol':
      return `a ${typeof value}`;
    default:
      return String(value);
  }
}

/** `setTimeout` holds at most 2^31 - 1 ms; a longer wait fires at once, which is the contrary of what was asked. */
export const longestTimerMs = 2_147_483_647;
