/** Throws unless `value` is a finite number (an integer, where asked) of at least `min`; `undefined` gives `fallback`. */
export function numberOption(
  owner: string,
  option: string,
  value: number | undefined,
  fallback: number,
  rule: { min: number; integer?: boolean; infinity?: boolean },
): number {
  if (value === undefined) return fallback;
  const inRange = value >= rule.min && (value === Number.POSITIVE_INFINITY ? rule.infinity === true : true);
  if (typeof value === 'number' && inRange && (!rule.integer || Number.isInteger(value) || !Number.isFinite(value))) {
    return value;
  }
  const wanted = `${rule.integer ? 'an integer' : 'a number'} >= ${rule.min}${rule.infinity ? ' or Infinity' : ''}`;
  const refusal = `@x/pools: ${owner}.${option} must be ${wanted}, got ${String(value)}`;
  throw typeof value === 'number' ? new RangeError(refusal) : new TypeError(refusal);
}

/** `setTimeout` holds at most 2^31 - 1 ms; a longer wait fires at once, which is the contrary of what was asked. */
export const longestTimerMs = 2_147_483_647;
