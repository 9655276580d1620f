/** Where series go that may not have a label value of their own. */
export const OTHER = '__other__';

/**
 * A key that came from outside this package (a reason, an error code) as a label value. Reasons and codes are words;
 * anything longer or stranger is a message, an address or a secret that got there by mistake, and would be a new series
 * each time.
 */
export function boundedLabel(key: string): string {
  return /^[\w.:-]{1,64}$/.test(key) ? key : OTHER;
}
