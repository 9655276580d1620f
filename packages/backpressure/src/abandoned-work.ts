/** How much work was left by its callers before it ended, and how much of that still runs. */
export class AbandonedWork {
  total = 0;
  inFlight = 0;

  /** A caller has gone, its work has not ended. */
  left(): void {
    this.total++;
    this.inFlight++;
  }

  /** Work that was left has ended. */
  ended(): void {
    this.inFlight--;
  }
}
