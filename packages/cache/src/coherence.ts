import type { Clock } from './clock.ts';
import type { Fences } from './fences.ts';
import { KeyPattern } from './glob.ts';
import type { EntryTimes, MemoryTier } from './memory-tier.ts';
import type { RemoteListener, RemoteTier } from './remote-tier.ts';

export interface CoherenceOptions {
  memory: MemoryTier;
  fences: Fences;
  clock: Clock;
  /** Told when memory begins or ceases to keep up with what others do. */
  onState: (state: CoherenceState) => void;
  onDegraded: (to: string, error: unknown) => void;
}

/** `'coherent'`: memory hears of what others do. `'isolated'`: it may not, and what it has is taken for fresh for `maxLagMs` only. */
export interface CoherenceState {
  state: 'coherent' | 'isolated';
  reason: unknown;
}

/**
 * Keeps memory from serving as fresh what others have changed. While changes are told they are followed; when they may not be,
 * memory is only a guess: what it has becomes stale, and what is put there is fresh for `maxLagMs` at most. So nobody is served a
 * value that others changed longer ago than `maxLagMs`, be Redis, the network, or this process stopped for a while.
 */
export class Coherence implements RemoteListener {
  readonly #options: CoherenceOptions;
  #maxLagMs = Number.POSITIVE_INFINITY;
  #linked = true;
  #isolated = false;
  #unsubscribe: (() => void) | undefined;
  readonly #waiting: Map<string, Set<() => void>> = new Map();

  constructor(options: CoherenceOptions) {
    this.#options = options;
  }

  follow(remote: RemoteTier | undefined): void {
    if (remote?.subscribe === undefined) return;
    this.#maxLagMs = remote.maxLagMs ?? 0;
    this.#linked = false;
    this.#isolated = true;
    this.#unsubscribe = remote.subscribe(this);
  }

  /** The times of what is put into memory now. `told`: whether the remote tier has it too, so that it tells of what happens to it. */
  limited(times: EntryTimes, now: number, told: boolean): EntryTimes {
    this.check(now);
    if ((!this.#isolated && told) || times.freshUntil <= now + this.#maxLagMs) return times;
    // Nor may it slide: what lives on by being read would never be asked for.
    return { ...times, freshUntil: now + this.#maxLagMs, plainUntil: now + this.#maxLagMs, slideMs: 0 };
  }

  /** To be asked before memory is believed. */
  check(now: number): void {
    if (now >= this.#options.memory.trustedUntil) this.#isolate('nothing was heard for too long');
  }

  /** Calls `wake` once when the key changes. Returns how to stop that. */
  onceChanged(key: string, wake: () => void): () => void {
    const waiting = this.#waiting.get(key) ?? new Set<() => void>();
    this.#waiting.set(key, waiting.add(wake));
    return () => {
      waiting.delete(wake);
      if (waiting.size === 0 && this.#waiting.get(key) === waiting) this.#waiting.delete(key);
    };
  }

  stop(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }

  changed(keys: readonly string[]): void {
    for (const key of keys) {
      this.#options.fences.touch(key);
      this.#options.memory.remove(key);
      this.#wake(key);
    }
  }

  tagsChanged(tags: readonly string[]): void {
    const { fences, memory } = this.#options;
    fences.touchTagged(tags);
    for (const tag of tags) for (const key of memory.keysTagged(tag)) memory.remove(key);
  }

  patternChanged(pattern: string): void {
    const { fences, memory } = this.#options;
    const matcher = new KeyPattern(pattern);
    fences.touchWhere((fence) => matcher.matches(fence.key));
    for (const key of memory.keys()) if (matcher.matches(key)) memory.remove(key);
  }

  everythingChanged(): void {
    this.#options.fences.touchWhere(() => true);
    this.#options.memory.clear();
    for (const key of [...this.#waiting.keys()]) this.#wake(key);
  }

  current(agoMs: number): void {
    if (!this.#linked) return;
    const { clock, memory } = this.#options;
    const now = clock.now();
    const until = now - agoMs + this.#maxLagMs;
    if (until <= now) return;
    memory.trustedUntil = until;
    if (this.#isolated) this.#rejoin();
  }

  lost(reason: unknown): void {
    this.#linked = false;
    this.#isolate(reason);
  }

  back(): void {
    const { clock, fences, memory } = this.#options;
    const now = clock.now();
    // What came into memory meanwhile, or is on its way there, may have been changed unheard.
    memory.expireAll(now);
    fences.touchWhere(() => true);
    memory.trustedUntil = now + this.#maxLagMs;
    this.#linked = true;
    this.#rejoin();
  }

  degraded(to: string, reason: unknown): void {
    this.#options.onDegraded(to, reason);
  }

  holds(key: string): boolean {
    return this.#options.memory.has(key) || this.#options.fences.stands(key);
  }

  #isolate(reason: unknown): void {
    if (this.#isolated) return;
    const { clock, memory, onState } = this.#options;
    this.#isolated = true;
    memory.expireAll(Math.min(clock.now(), memory.trustedUntil));
    memory.trustedUntil = Number.POSITIVE_INFINITY;
    onState({ state: 'isolated', reason });
  }

  #rejoin(): void {
    this.#isolated = false;
    this.#options.onState({ state: 'coherent', reason: undefined });
  }

  #wake(key: string): void {
    for (const wake of [...(this.#waiting.get(key) ?? [])]) wake();
  }
}
