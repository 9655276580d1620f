/** Throws unless `value` is a finite number (an integer, where asked) of at least `min`; `undefined` gives `fallback`. */
export function numberOption(
  owner: string,
  option: string,
  value: number | undefined,
  fallback: number,
  rule: { min: number; integer?: boolean; infinity?: boolean },
): number {
  if (value === undefined) return fallback;
  const wanted = `${rule.integer ? 'an integer' : 'a number'} >= ${rule.min}${rule.infinity ? ' or Infinity' : ''}`;
  const refusal = `@x/pools: ${owner}.${option} must be ${wanted}, got ${String(value)}`;
  if (typeof value !== 'number') throw new TypeError(refusal);
  if (value === Number.POSITIVE_INFINITY && rule.infinity) return value;
  if (!Number.isFinite(value) || value < rule.min || (rule.integer && !Number.isInteger(value))) {
    throw new RangeError(refusal);
  }
  return value;
}

/** `setTimeout` holds at most 2^31 - 1 ms; a longer wait fires at once, which is the contrary of what was asked. */
export const longestTimerMs = 2_147_483_647;
