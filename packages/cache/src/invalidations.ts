import type { CacheEvents } from './cache-events.ts';
import { KeyPattern } from './glob.ts';
import { checkKey } from './key.ts';
import type { Tiers } from './tiers.ts';

/**
 * What takes entries away, in memory at once and then in the remote tier. Each breaks the fences that it concerns first, so that no
 * read or load under way brings back what it took.
 */
export class Invalidations {
  readonly #tiers: Tiers;

  constructor(tiers: Tiers) {
    this.#tiers = tiers;
  }

  async delete(keys: readonly string[]): Promise<boolean> {
    keys.forEach(checkKey);
    this.#tell('delete', keys);
    let deleted = false;
    for (const key of keys) deleted = this.#forget(key) || deleted;
    const there = keys.length === 0 ? 0 : await this.#tiers.remotely((remote) => remote.delete(keys), 0);
    return deleted || there > 0;
  }

  async expire(keys: readonly string[]): Promise<void> {
    keys.forEach(checkKey);
    this.#tell('expire', keys);
    const now = this.#tiers.clock.now();
    for (const key of keys) {
      this.#tiers.fences.break(key);
      this.#tiers.memory.expire(key, now);
      this.#tiers.counts.invalidations++;
    }
    if (keys.length > 0) await this.#tiers.remotely((remote) => remote.expire(keys), undefined);
  }

  async deleteByTag(tags: readonly string[]): Promise<void> {
    this.#tell('tag', tags);
    this.#tiers.fences.breakTagged(tags);
    for (const tag of tags) for (const key of this.#tiers.memory.keysTagged(tag)) this.#forget(key);
    if (tags.length > 0) await this.#tiers.remotely((remote) => remote.deleteByTag(tags), undefined);
  }

  async deleteByPattern(pattern: string): Promise<number> {
    const matcher = new KeyPattern(pattern);
    this.#tell('pattern', [pattern]);
    this.#tiers.fences.breakWhere((fence) => matcher.matches(fence.key));
    let deleted = 0;
    for (const key of this.#tiers.memory.keys()) if (matcher.matches(key) && this.#forget(key)) deleted++;
    return Math.max(deleted, await this.#tiers.remotely((remote) => remote.deleteByPattern(pattern), 0));
  }

  async clear(): Promise<void> {
    this.#tell('clear', []);
    this.#tiers.counts.invalidations += this.#tiers.memory.size;
    this.#tiers.stop();
    await this.#tiers.remotely((remote) => remote.clear(), undefined);
  }

  #tell(kind: CacheEvents['invalidation']['kind'], names: readonly string[]): void {
    this.#tiers.listeners.emit('invalidation', { kind, names });
  }

  #forget(key: string): boolean {
    this.#tiers.fences.break(key);
    this.#tiers.counts.invalidations++;
    return this.#tiers.memory.remove(key);
  }
}
