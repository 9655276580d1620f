/** Most keys that are remembered; the oldest go. */
const MOST = 10_000;

interface OwnWrite {
  version: string;
  /** It may also have been taken away again by us. */
  orNothing: boolean;
}

/**
 * The versions that this process has just written. Redis tells of every change to a key, this process's own among them, and may tell of
 * two at once; so what is told of a key that was written here is settled by asking which version stands there.
 */
export class OwnWrites {
  /** Two generations: what was written before the last sign of life but one has been told of. */
  #recent = new Map<string, OwnWrite>();
  #older = new Map<string, OwnWrite>();

  /** `version` is about to stand at `key`. */
  add(key: string, version: string): void {
    this.#put(key, { version, orNothing: false });
  }

  /** What this process has put at `key` it is about to take away. */
  remove(key: string): void {
    const write = this.#get(key);
    if (write !== undefined) this.#put(key, { version: write.version, orNothing: true });
  }

  /** Somebody's value was found at `key`: if nothing stands there later, it was not this process that took it away. */
  found(key: string): void {
    const write = this.#get(key);
    if (write !== undefined) write.orNothing = false;
  }

  /** The last version of it. */
  version(key: string): string | undefined {
    return this.#get(key)?.version;
  }

  /** Whether it was this process that left `key` as it is; '' stands for nothing. */
  explains(key: string, version: string): boolean {
    const write = this.#get(key);
    return write !== undefined && (version === write.version || (version === '' && write.orNothing));
  }

  /** To be called at each sign of life. */
  age(): void {
    this.#older = this.#recent;
    this.#recent = new Map();
  }

  #get(key: string): OwnWrite | undefined {
    return this.#recent.get(key) ?? this.#older.get(key);
  }

  #put(key: string, write: OwnWrite): void {
    this.#recent.delete(key);
    this.#recent.set(key, write);
    if (this.#recent.size > MOST) this.#recent.delete(this.#recent.keys().next().value as string);
  }
}
