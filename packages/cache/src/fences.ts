/** Stands while something is on its way into the cache; broken, it must not get in. */
export interface Fence {
  readonly key: string;
  /** The tags it will have if it is loaded. */
  readonly tags: readonly string[];
  broken: boolean;
  /** Somebody else changed the key while it was read or loaded here: what comes of that is not kept in memory. */
  changed: boolean;
  /** The deletions by tag before it. */
  readonly raisedAt: number;
}

/** Deleted tags that are remembered while fences stand. */
const MOST_TAGS = 10_000;

/**
 * What lets an invalidation win: whoever reads or loads raises a fence first, every invalidation breaks the fences it concerns,
 * and what comes back to a broken fence is handed to its callers but not kept.
 */
export class Fences {
  readonly #standing = new Map<string, Fence[]>();
  /** Deletions by tag are numbered; those of tags that may have been forgotten are numbered up to `#forgotten`. */
  readonly #deletedAt = new Map<string, number>();
  #deletions = 0;
  #forgotten = 0;

  raise(key: string, tags: readonly string[]): Fence {
    const fence: Fence = { key, tags, broken: false, changed: false, raisedAt: this.#deletions };
    const others = this.#standing.get(key);
    if (others === undefined) this.#standing.set(key, [fence]);
    else others.push(fence);
    return fence;
  }

  lower(fence: Fence): void {
    const fences = this.#standing.get(fence.key);
    const at = fences?.indexOf(fence) ?? -1;
    if (fences === undefined || at === -1) return;
    if (fences.length === 1) this.#standing.delete(fence.key);
    else fences.splice(at, 1);
  }

  break(key: string): void {
    const fences = this.#standing.get(key);
    if (fences !== undefined) for (const fence of fences) fence.broken = true;
  }

  breakTagged(tags: readonly string[]): void {
    const deleted = this.#noted(tags);
    this.breakWhere((fence) => fence.tags.some((tag) => deleted.has(tag)));
  }

  /** The key was changed by somebody else. */
  touch(key: string): void {
    for (const fence of this.#standing.get(key) ?? []) fence.changed = true;
  }

  touchTagged(tags: readonly string[]): void {
    const deleted = this.#noted(tags);
    this.touchWhere((fence) => fence.tags.some((tag) => deleted.has(tag)));
  }

  /** Whether one of the tags was deleted since the fence was raised: what comes from the remote tier with it must not get in either. */
  outlived(fence: Fence, tags: readonly string[]): boolean {
    return tags.some((tag) => (this.#deletedAt.get(tag) ?? this.#forgotten) > fence.raisedAt);
  }

  touchWhere(concerns: (fence: Fence) => boolean): void {
    for (const fences of this.#standing.values()) {
      for (const fence of fences) if (concerns(fence)) fence.changed = true;
    }
  }

  stands(key: string): boolean {
    return this.#standing.has(key);
  }

  breakWhere(concerns: (fence: Fence) => boolean): void {
    for (const fences of this.#standing.values()) {
      for (const fence of fences) if (concerns(fence)) fence.broken = true;
    }
  }

  #noted(tags: readonly string[]): ReadonlySet<string> {
    this.#deletions++;
    // When they get too many, those that stand take any tag for deleted.
    if (this.#deletedAt.size + tags.length > MOST_TAGS) {
      this.#deletedAt.clear();
      this.#forgotten = this.#deletions;
    }
    if (this.#standing.size === 0) this.#deletedAt.clear();
    else for (const tag of tags) this.#deletedAt.set(tag, this.#deletions);
    return new Set(tags);
  }
}
