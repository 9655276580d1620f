/** Which keys in memory have which tags. */
export class TagIndex {
  readonly #keys = new Map<string, Set<string>>();
  readonly #tags = new Map<number, readonly string[]>();

  of(slot: number): readonly string[] {
    return this.#tags.get(slot) ?? [];
  }

  keys(tag: string): readonly string[] {
    return [...(this.#keys.get(tag) ?? [])];
  }

  add(slot: number, key: string, tags: readonly string[]): void {
    this.#tags.set(slot, tags);
    for (const tag of tags) {
      const keys = this.#keys.get(tag);
      if (keys === undefined) this.#keys.set(tag, new Set([key]));
      else keys.add(key);
    }
  }

  remove(slot: number, key: string): void {
    const tags = this.#tags.get(slot);
    if (tags === undefined) return;
    this.#tags.delete(slot);
    for (const tag of tags) {
      const keys = this.#keys.get(tag);
      keys?.delete(key);
      if (keys?.size === 0) this.#keys.delete(tag);
    }
  }

  clear(): void {
    this.#keys.clear();
    this.#tags.clear();
  }
}
