import assert from 'node:assert/strict';
import { KeyPattern } from '../glob.ts';
import type { RemoteListener, RemoteTier } from '../remote-tier.ts';
import type { CaseContext, Cases } from './remote-tier-contract.ts';
import { written } from './storage-cases.ts';

const PATIENCE_MS = 5_000;
const STEP_MS = 20;

/** Remembers what it was told. */
class Ear implements RemoteListener {
  readonly tags = new Set<string>();
  backs = 0;
  currents = 0;
  #all = false;
  readonly #keys = new Set<string>();
  readonly #patterns: KeyPattern[] = [];

  changed(keys: readonly string[]): void {
    for (const key of keys) this.#keys.add(key);
  }

  tagsChanged(tags: readonly string[]): void {
    for (const tag of tags) this.tags.add(tag);
  }

  patternChanged(pattern: string): void {
    this.#patterns.push(new KeyPattern(pattern));
  }

  everythingChanged(): void {
    this.#all = true;
  }

  current(): void {
    this.currents++;
  }

  lost(): void {}

  back(): void {
    this.backs++;
  }

  degraded(): void {}

  holds(): boolean {
    return true;
  }

  /** Whether a cache that has the key in memory would know. */
  heard(key: string, tags: readonly string[]): boolean {
    return (
      this.#all ||
      this.#keys.has(key) ||
      tags.some((tag) => this.tags.has(tag)) ||
      this.#patterns.some((pattern) => pattern.matches(key))
    );
  }
}

async function listening(tier: RemoteTier, elapse: CaseContext['elapse']): Promise<{ ear: Ear; stop: () => void }> {
  const ear = new Ear();
  const stop = tier.subscribe?.(ear);
  assert.ok(stop, 'a tier that subscribes has subscribe()');
  await eventually(elapse, () => ear.backs > 0, 'back() must be called when changes are told');
  return { ear, stop };
}

async function eventually(elapse: CaseContext['elapse'], isSo: () => boolean, what: string): Promise<void> {
  for (let waitedMs = 0; !isSo(); waitedMs += STEP_MS) {
    assert.ok(waitedMs < PATIENCE_MS, what);
    await elapse(STEP_MS);
  }
}

function told(invalidate: (tier: RemoteTier) => Promise<unknown>): (context: CaseContext) => Promise<void> {
  return async ({ one, two, elapse }) => {
    // Before anybody listens: it must be the invalidation that is heard.
    await one.set('k', written(1, { tags: ['t'] }));
    const { ear } = await listening(two, elapse);
    await elapse(STEP_MS);
    assert.equal(ear.heard('k', ['t']), false);
    await invalidate(one);
    await eventually(elapse, () => ear.heard('k', ['t']), 'an invalidation must be told');
  };
}

export const listenerCases: Cases = {
  'maxLagMs is a positive number': async ({ one }) => {
    assert.ok((one.maxLagMs ?? 0) > 0);
  },
  'set is told to others': async ({ one, two, elapse }) => {
    const { ear } = await listening(two, elapse);
    await one.set('k', written(1));
    await eventually(elapse, () => ear.heard('k', []), 'a set must be told');
  },
  'delete is told to others': told((tier) => tier.delete(['k'])),
  'expire is told to others': told((tier) => tier.expire(['k'])),
  'deleteByTag is told to others': told((tier) => tier.deleteByTag(['t'])),
  'deleteByPattern is told to others': told((tier) => tier.deleteByPattern('k*')),
  'clear is told to others': told((tier) => tier.clear()),
  'a deletion of what only memory may have is told too': async ({ one, two, elapse }) => {
    const { ear } = await listening(two, elapse);
    await one.delete(['never stored']);
    await eventually(elapse, () => ear.heard('never stored', []), 'a delete must be told, whatever was there');
  },
  'signs of life come more often than maxLagMs': async ({ one, elapse }) => {
    const { ear } = await listening(one, elapse);
    if (one.maxLagMs === Number.POSITIVE_INFINITY) return;
    for (let n = 1; n <= 3; n++) {
      await elapse(one.maxLagMs ?? 0);
      assert.ok(ear.currents >= n, 'current() must be called at least every maxLagMs');
    }
  },
  'nothing is told after the end': async ({ one, two, elapse }) => {
    const { ear, stop } = await listening(two, elapse);
    stop();
    await one.set('k', written(1));
    await elapse(100);
    assert.equal(ear.heard('k', []), false);
  },
};
