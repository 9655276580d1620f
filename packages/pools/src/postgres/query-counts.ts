/** How many queries were run, how many of them failed, and how long they took. */
export class QueryCounts {
  queries = 0;
  failures = 0;
  /** Added up, waiting for a connection aside. Milliseconds. */
  ms = 0;

  /** An abort is nobody's failure. */
  failed(error: unknown, signal: AbortSignal | undefined): void {
    if (signal?.aborted !== true || error !== signal.reason) this.failures++;
  }
}
