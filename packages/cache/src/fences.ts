/** Stands while something is on its way into the cache; broken, it must not get in. */
export interface Fence {
  readonly key: string;
  /** The tags it will have if it is loaded. */
  readonly tags: readonly string[];
  broken: boolean;
  /** Tags deleted meanwhile: what comes from the remote tier with one of them must not get in either. */
  readonly deadTags: Set<string>;
}

/**
 * What lets an invalidation win: whoever reads or loads raises a fence first, every invalidation breaks the fences it concerns,
 * and what comes back to a broken fence is handed to its callers but not kept.
 */
export class Fences {
  readonly #standing = new Map<string, Set<Fence>>();

  raise(key: string, tags: readonly string[]): Fence {
    const fence: Fence = { key, tags, broken: false, deadTags: new Set() };
    const others = this.#standing.get(key);
    if (others === undefined) this.#standing.set(key, new Set([fence]));
    else others.add(fence);
    return fence;
  }

  lower(fence: Fence): void {
    const fences = this.#standing.get(fence.key);
    fences?.delete(fence);
    if (fences?.size === 0) this.#standing.delete(fence.key);
  }

  break(key: string): void {
    const fences = this.#standing.get(key);
    if (fences !== undefined) for (const fence of fences) fence.broken = true;
  }

  breakTagged(tags: readonly string[]): void {
    this.breakWhere((fence) => {
      for (const tag of tags) fence.deadTags.add(tag);
      return fence.tags.some((tag) => fence.deadTags.has(tag));
    });
  }

  breakWhere(concerns: (fence: Fence) => boolean): void {
    for (const fences of this.#standing.values()) {
      for (const fence of fences) if (concerns(fence)) fence.broken = true;
    }
  }
}
