/** Stands while something is on its way into the cache; broken, it must not get in. */
export interface Fence {
  readonly key: string;
  /** The tags it will have if it is loaded. */
  readonly tags: readonly string[];
  broken: boolean;
  /** Somebody else changed the key while it was read or loaded here: what comes of that is not kept in memory. */
  changed: boolean;
  /** Tags deleted meanwhile: what comes from the remote tier with one of them must not get in either. */
  deadTags: ReadonlySet<string>;
}

/** Most fences never see one. */
const NONE: ReadonlySet<string> = new Set();

/**
 * What lets an invalidation win: whoever reads or loads raises a fence first, every invalidation breaks the fences it concerns,
 * and what comes back to a broken fence is handed to its callers but not kept.
 */
export class Fences {
  readonly #standing = new Map<string, Fence[]>();

  raise(key: string, tags: readonly string[]): Fence {
    const fence: Fence = { key, tags, broken: false, changed: false, deadTags: NONE };
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
    this.breakWhere((fence) => {
      fence.deadTags = new Set([...fence.deadTags, ...tags]);
      return fence.tags.some((tag) => fence.deadTags.has(tag));
    });
  }

  /** The key was changed by somebody else. */
  touch(key: string): void {
    for (const fence of this.#standing.get(key) ?? []) fence.changed = true;
  }

  touchTagged(tags: readonly string[]): void {
    this.touchWhere((fence) => {
      fence.deadTags = new Set([...fence.deadTags, ...tags]);
      return fence.tags.some((tag) => fence.deadTags.has(tag));
    });
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
}
