/**
 * What a refused caller is told to wait, so that those who were refused together do not come back together: never less than
 * `ms`, at most half as much again, and at most 5 s more.
 */
export function jittered(ms: number, random: () => number): number {
  return Math.ceil(ms + random() * Math.min(ms / 2, 5_000));
}
