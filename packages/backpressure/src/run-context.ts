/** What the work is given. */
export interface RunContext {
  /** Aborts when nobody waits for the work any more: the caller has gone, or the time is up. */
  readonly signal: AbortSignal;
}

/**
 * The context of work that nothing can abort. Most such work never looks at its signal, so it is made when it is asked
 * for; each call gets its own, so that listeners left on it do not pile up.
 */
export class UnabortableContext implements RunContext {
  #signal: AbortSignal | undefined;

  get signal(): AbortSignal {
    this.#signal ??= new AbortController().signal;
    return this.#signal;
  }
}
