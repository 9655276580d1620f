/** -ln of the smallest number above 0 that `1 - random()` can be, 2^-53, rounded up: earlier than this no draw can refresh. */
const LONGEST_DRAW = 37;

/**
 * XFetch, probabilistic early refresh (Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015):
 * a reader refreshes a fresh entry when
 *
 *     now - δ · β · ln(u) >= freshUntil,   u uniform in (0, 1]
 *
 * where δ is how long the entry's load took. So the chance grows as the end of freshness comes near, and the costlier the load, the
 * earlier it begins: some reader nearly always refreshes in time, and readers seldom do so together. Returns the draw, -δ · β · ln(u):
 * an entry that stays fresh for no longer than this is to be refreshed. Milliseconds.
 */
export function earlyDrawMs(loadMs: number, beta: number, random: () => number): number {
  return -loadMs * beta * Math.log(1 - random());
}

/** For so long before freshness ends a draw can come out as a refresh; a hit before that needs none. Milliseconds. */
export function earlyWindowMs(loadMs: number, beta: number): number {
  return loadMs * beta * LONGEST_DRAW;
}
