/** A deletion that Redis has not heard of. */
export interface MissedWrite {
  kind: 'key' | 'tag' | 'pattern';
  name: string;
}

const MOST = 10_000;

/** What was to be written while Redis was away. Each is made up for by a deletion; when they get too many, by deleting everything. */
export class MissedWrites {
  readonly #writes = new Map<string, MissedWrite>();

  #replaying = 0;

  get size(): number {
    return this.#writes.size + this.#replaying;
  }

  add(write: MissedWrite): void {
    this.#writes.set(`${write.kind}:${write.name}`, write);
    if (this.#writes.size <= MOST) return;
    this.#writes.clear();
    this.add({ kind: 'pattern', name: '*' });
  }

  /** Makes up for each in turn; those added meanwhile too. What fails stays. */
  async replay(deleteIt: (write: MissedWrite) => Promise<unknown>): Promise<void> {
    for (const [id, write] of this.#writes) {
      // Taken out first: missed once more while it is made up for, it stands for a later write.
      this.#writes.delete(id);
      this.#replaying = 1;
      try {
        await deleteIt(write);
      } catch (error) {
        this.#writes.set(id, write);
        throw error;
      } finally {
        this.#replaying = 0;
      }
    }
  }
}
