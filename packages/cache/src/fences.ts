/** Stands while something is on its way into the cache; broken, it must not get in. */
export interface Fence {
  readonly key: string;
  /** The tags it will have; undefined when only its arrival will tell. */
  readonly tags: readonly string[] | undefined;
  broken: boolean;
}

/**
 * What lets an invalidation win: whoever reads or loads raises a fence first, every invalidation breaks the fences it concerns,
 * and what comes back to a broken fence is handed to its callers but not kept.
 */
export class Fences {
  readonly #standing = new Map<string, Set<Fence>>();

  raise(key: string, tags: readonly string[] | undefined): Fence {
    const fence: Fence = { key, tags, broken: false };
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

  breakWhere(concerns: (fence: Fence) => boolean): void {
    for (const fences of this.#standing.values()) {
      for (const fence of fences) if (concerns(fence)) fence.broken = true;
    }
  }
}
