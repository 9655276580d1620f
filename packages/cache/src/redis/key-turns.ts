/**
 * The order of calls for writes that take more than one round trip: what concerns a key that is being written waits until it has
 * been. What concerns no such key is sent at once.
 */
export class KeyTurns {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Runs `write` after all under way that concern `keys`; what comes later waits for it in turn. */
  after<T>(keys: readonly string[], write: () => Promise<T>): Promise<T> {
    return keys.some((key) => this.#last.has(key)) ? this.during(keys, write) : write();
  }

  /** The same for a write that others must wait for. */
  during<T>(keys: readonly string[], write: () => Promise<T>): Promise<T> {
    const before = keys.flatMap((key) => this.#last.get(key) ?? []);
    const done = before.length === 0 ? write() : Promise.allSettled(before).then(write);
    for (const key of keys) this.#last.set(key, done);
    const forget = () => {
      for (const key of keys) if (this.#last.get(key) === done) this.#last.delete(key);
    };
    done.then(forget, forget);
    return done;
  }

  /** For what only reads the key: what it must wait for, if anything. */
  underWay(key: string): Promise<unknown> | undefined {
    return this.#last.get(key);
  }

  /** Runs `write` after all under way. */
  afterAll<T>(write: () => Promise<T>): Promise<T> {
    return this.#last.size === 0 ? write() : Promise.allSettled(this.#last.values()).then(write);
  }
}
