/** Listeners by event. One that throws is nobody's problem but its own. */
export class Listeners<Events extends { [name in keyof Events]: unknown }> {
  readonly #byEvent = new Map<keyof Events, Set<(event: never) => void>>();

  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void {
    const listeners = this.#byEvent.get(name) ?? new Set();
    this.#byEvent.set(name, listeners);
    // A wrapper of its own, so that one function registered twice is removed once.
    const entry = (event: Events[Name]) => listener(event);
    listeners.add(entry);
    return () => {
      listeners.delete(entry);
    };
  }

  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    const listeners = this.#byEvent.get(name);
    if (listeners === undefined) return;
    for (const listener of listeners) {
      try {
        (listener as (event: Events[Name]) => void)(event);
      } catch {
        // A listener never breaks the call.
      }
    }
  }
}
