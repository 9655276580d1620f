/** What the work is given. */
export interface RunContext {
  /** Aborts when nobody waits for the work any more: the caller has gone, or the time is up. */
  readonly signal: AbortSignal;
}

export type Work<T = unknown> = (context: RunContext) => T | PromiseLike<T>;

/**
 * The context of work that nothing can abort. Most such work never looks at its signal, so it is made when it is asked
 * for; each call gets its own, so that listeners left on it do not pile up.
 */
export class UnabortableContext implements RunContext {
  /** See `Waiter.kept`. */
  static readonly kept: UnabortableContext = new UnabortableContext();
  // Not a #field: those take longer to make than the rest of the object.
  declare private made: AbortSignal | undefined;

  constructor() {
    this.made = undefined;
  }

  get signal(): AbortSignal {
    this.made ??= new AbortController().signal;
    return this.made;
  }
}
