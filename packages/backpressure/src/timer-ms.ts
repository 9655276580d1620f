/** What a timer may be asked for: Node's fire at once when asked for more. */
export function timerMs(ms: number): number {
  return Math.min(Math.max(0, ms), 2 ** 31 - 1);
}
