import { type Channel, channel } from 'node:diagnostics_channel';

/** One kind of event: who listens here, and the channel of `node:diagnostics_channel` on which anybody may. */
export class Topic<Event extends object> {
  readonly #from: string;
  readonly #channel: Channel;
  readonly #listeners = new Set<(event: Event) => void>();

  constructor(name: string, from: string) {
    this.#from = from;
    this.#channel = channel(`@x/cache:${name}`);
  }

  /** Whether anybody listens: where it happens often, the event need not be made otherwise. */
  get wanted(): boolean {
    return this.#listeners.size > 0 || this.#channel.hasSubscribers;
  }

  on(listener: (event: Event) => void): () => void {
    // A wrapper of its own, so that one function registered twice is removed once.
    const entry = (event: Event) => listener(event);
    this.#listeners.add(entry);
    return () => {
      this.#listeners.delete(entry);
    };
  }

  emit(event: Event): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch {
        // A listener never breaks the call.
      }
    }
    if (this.#channel.hasSubscribers) this.#channel.publish({ cache: this.#from, ...event });
  }
}

/** Listeners by event. One that throws is nobody's problem but its own. */
export class Listeners<Events extends { [name in keyof Events]: object }> {
  readonly #from: string;
  readonly #topics = new Map<keyof Events, Topic<object>>();

  /** @param from Tells whose events they are where several caches share a channel. */
  constructor(from: string) {
    this.#from = from;
  }

  topic<Name extends keyof Events & string>(name: Name): Topic<Events[Name]> {
    const topic = this.#topics.get(name) ?? new Topic<object>(name, this.#from);
    this.#topics.set(name, topic);
    return topic as unknown as Topic<Events[Name]>;
  }

  on<Name extends keyof Events & string>(name: Name, listener: (event: Events[Name]) => void): () => void {
    return this.topic(name).on(listener);
  }

  emit<Name extends keyof Events & string>(name: Name, event: Events[Name]): void {
    this.topic(name).emit(event);
  }
}
