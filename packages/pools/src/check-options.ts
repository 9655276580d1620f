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
  const inRange = value >= rule.min && value <= max;
  if (typeof value === 'number' && inRange && (!rule.integer || Number.isInteger(value) || !Number.isFinite(value))) {
    return value;
  }
  const upTo = rule.max === undefined ? '' : ` and <= ${rule.max}`;
  const wanted = `${rule.integer ? 'an integer' : 'a number'} >= ${rule.min}${upTo}${rule.infinity ? ' or Infinity' : ''}`;
  const refusal = `@x/pools: ${owner}.${option} must be ${wanted}, got ${String(value)}`;
  throw typeof value === 'number' ? new RangeError(refusal) : new TypeError(refusal);
}

/** `setTimeout` holds at most 2^31 - 1 ms; a longer wait fires at once, which is the contrary of what was asked. */
export const longestTimerMs = 2_147_483_647;
