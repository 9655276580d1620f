/** Listeners by event. Nothing is allocated until somebody listens. */
export class Listeners<Events extends Record<string, object>> {
  #byEvent: Map<keyof Events, readonly ((event: never) => void)[]> | undefined;

  add<E extends keyof Events>(event: E, fn: (event: Events[E]) => void): () => void {
    this.#byEvent ??= new Map();
    const byEvent = this.#byEvent;
    // An entry of its own for each call, so that unsubscribing twice, or a function added twice, does no harm.
    const listener = (payload: Events[E]): unknown => fn(payload);
    byEvent.set(event, [...(byEvent.get(event) ?? []), listener]);
    return () => {
      byEvent.set(
        event,
        (byEvent.get(event) ?? []).filter((other) => other !== listener),
      );
    };
  }

  has(event: keyof Events): boolean {
    return (this.#byEvent?.get(event)?.length ?? 0) > 0;
  }

  emit<E extends keyof Events>(event: E, payload: Events[E]): void {
    for (const listener of this.#byEvent?.get(event) ?? []) {
      try {
        const returned: unknown = (listener as (event: Events[E]) => unknown)(payload);
        if (returned instanceof Promise) returned.catch(() => {});
      } catch {
        // What a listener throws, or an async one rejects with, is not the caller's error, and the state has already changed.
      }
    }
  }
}
