import type { CountBy } from './observable.ts';

/** Where series go that may not have a label value of their own. */
export const OTHER = '__other__';

/**
 * Whether a key that came from outside this package (a reason, an error code) may be a label value. Reasons and codes
 * are words; anything longer or stranger is a message, an address or a secret that got there by mistake, and would be a
 * new series each time.
 */
export function isWord(key: unknown): key is string {
  return typeof key === 'string' && /^[\w.:-]{1,64}$/.test(key);
}

const MAX_NAME = 128;

/** Names come from code, but one that holds a URL or a key should at least not fill the page. */
export function boundedName(name: string): string {
  return name.length > MAX_NAME ? `${name.slice(0, MAX_NAME - 1)}…` : name;
}

/** The counts with keys that may be shown; those of all others together are under `__other__`. */
export function boundedKeys(counts: CountBy): Record<string, number> {
  const bounded: Record<string, number> = Object.create(null);
  for (const [key, count = 0] of Object.entries(counts)) {
    const label = isWord(key) ? key : OTHER;
    bounded[label] = (bounded[label] ?? 0) + count;
  }
  return bounded;
}
