/** Throws unless `value` is a whole number from `min`; `Infinity` passes. */
export function checkCount(option: string, value: number, min: number): void {
  if ((Number.isInteger(value) && value >= min) || value === Number.POSITIVE_INFINITY) return;
  throw wrongOption(option, `an integer >= ${min} or Infinity`, value);
}

/** Throws unless `value` is a finite number of milliseconds above 0. */
export function checkDuration(option: string, value: number): void {
  if (!(Number.isFinite(value) && value > 0)) throw wrongOption(option, 'a finite number of milliseconds > 0', value);
}

/** A TypeError for the wrong kind of thing, a RangeError for a wrong number. */
export function wrongOption(option: string, expected: string, got: unknown): Error {
  const shown = typeof got === 'string' ? `'${got}'` : String(got);
  const message = `@x/dataloader: ${option} must be ${expected}, got ${shown}`;
  return typeof got === 'number' ? new RangeError(message) : new TypeError(message);
}
