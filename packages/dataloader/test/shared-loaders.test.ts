import { createLoaders, DataLoader } from '@x/dataloader';
import { describe, expect, it } from 'vitest';

interface Ctx {
  user: string;
}

function shared() {
  const batches: { keys: readonly string[]; partition: unknown }[] = [];
  let made = 0;
  const loaders = createLoaders(() => {
    made += 1;
    const load = async (keys: readonly string[], { partition }: { partition: unknown }) => {
      batches.push({ keys, partition });
      return keys.map((key) => ({ key, partition }));
    };
    return {
      open: new DataLoader<string, { key: string; partition: unknown }>(load, { schedule: 'immediate' }),
      private: new DataLoader<string, { key: string; partition: unknown }>(load, {
        schedule: 'immediate',
        partition: (_key, ctx) => (ctx as Ctx | undefined)?.user,
      }),
    };
  });
  return { loaders, batches, made: () => made };
}

describe('createLoaders', () => {
  it('makes one batch of what several requests ask for, each key once', async () => {
    const { loaders, batches, made } = shared();
    const requests = Array.from({ length: 20 }, (_, i) => ({ user: `u${i}` }));
    const values = await Promise.all(requests.map((ctx, i) => loaders.for(ctx).open.load(`k${i % 10}`)));
    expect(values.map(({ key }) => key)).toEqual(requests.map((_, i) => `k${i % 10}`));
    expect(batches).toHaveLength(1);
    expect(batches[0]?.keys).toHaveLength(10);
    expect(made()).toBe(1);
    expect(loaders.open.stats()).toMatchObject({ loads: 20, hits: 10, batches: 1, keysLoaded: 10 });
  });

  it('gives each request a cache of its own, the same for the same request', async () => {
    const { loaders, batches } = shared();
    const [alice, bob] = [{ user: 'alice' }, { user: 'bob' }];
    expect(loaders.for(alice)).toBe(loaders.for(alice));
    loaders.for(alice).open.prime('k', { key: 'forged', partition: undefined });
    expect((await loaders.for(alice).open.load('k')).key).toBe('forged');
    expect((await loaders.for(bob).open.load('k')).key).toBe('k');
    await loaders.for(bob).open.load('k');
    expect(batches).toHaveLength(1);
    await loaders.for(bob).open.clear('k').load('k');
    expect(batches).toHaveLength(2);
    expect((await loaders.for(alice).open.load('k')).key).toBe('forged');
  });

  it('never mixes two identities in one batch', async () => {
    const { loaders, batches } = shared();
    const [alice, bob] = [{ user: 'alice' }, { user: 'bob' }];
    await Promise.all([
      loaders.for(alice).private.load('k'),
      loaders.for(bob).private.load('k'),
      loaders.for(alice).private.load('l'),
    ]);
    expect(batches).toEqual([
      { keys: ['k', 'l'], partition: 'alice' },
      { keys: ['k'], partition: 'bob' },
    ]);
  });

  it.each([{}, { orderedHits: false }, { maxEntries: 10 }, { maxEntries: 10, orderedHits: false }])(
    "keeps one identity's values from another's in the cache of a loader that both use, with %j",
    async (options) => {
      let user = 'alice';
      const seen: string[] = [];
      const loader = new DataLoader<string, string>(
        async (ids, { partition }) => {
          seen.push(`${partition}: ${ids.join()}`);
          return ids.map((id) => `${id} of ${partition}`);
        },
        { ...options, partition: () => user },
      );
      const one = loader.load('d1');
      user = 'bob';
      expect(await Promise.all([one, loader.load('d1')])).toEqual(['d1 of alice', 'd1 of bob']);
      expect(await loader.load('d1')).toBe('d1 of bob');
      user = 'alice';
      expect(await loader.load('d1')).toBe('d1 of alice');
      loader.clear('d1').prime('d1', 'primed for alice');
      user = 'bob';
      expect(await loader.load('d1')).toBe('d1 of bob');
      loader.prime('d1', 'too late');
      expect(await loader.load('d1')).toBe('d1 of bob');
      expect(seen).toEqual(['alice: d1', 'bob: d1', 'alice: d1', 'bob: d1']);
    },
  );

  it("keeps nothing of a failed batch in any request's cache", async () => {
    let fail = true;
    const loaders = createLoaders(() => ({
      it: new DataLoader<number, number>(async (keys) => {
        if (fail) throw new Error('down');
        return keys;
      }),
    }));
    const requests = [{}, {}, {}];
    const failed = await Promise.allSettled(requests.map((ctx) => loaders.for(ctx).it.load(1)));
    expect(failed.every(({ status }) => status === 'rejected')).toBe(true);
    fail = false;
    expect(await Promise.all(requests.map((ctx) => loaders.for(ctx).it.load(1)))).toEqual([1, 1, 1]);
  });

  it('aborts a shared batch only when the last request has gone', async () => {
    const signals: AbortSignal[] = [];
    const loaders = createLoaders(() => ({
      it: new DataLoader<number, number>((_keys, { signal }) => new Promise(() => signals.push(signal))),
    }));
    const [first, second] = [new AbortController(), new AbortController()];
    const loads = [first, second].map((controller) => loaders.for({}).it.load(1, { signal: controller.signal }));
    await new Promise((resolve) => setImmediate(resolve));
    first.abort('1');
    expect(signals[0]?.aborted).toBe(false);
    second.abort('2');
    expect(signals[0]?.aborted).toBe(true);
    expect(await Promise.allSettled(loads)).toMatchObject([{ reason: '1' }, { reason: '2' }]);
  });

  it('loads many through a view, and lists the loaders by name', async () => {
    const { loaders } = shared();
    const view = loaders.for({});
    expect(Object.keys(view)).toEqual(['open', 'private']);
    const values = await view.open.loadMany(['a', 'b']);
    expect(values).toMatchObject([{ key: 'a' }, { key: 'b' }]);
    view.open.clearAll();
  });

  it('frees a view with its request', async () => {
    const { setFlagsFromString } = await import('node:v8');
    const { runInNewContext } = await import('node:vm');
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const { loaders } = shared();
    const refs: WeakRef<object>[] = [];
    for (let i = 0; i < 10; i += 1) {
      const ctx = { user: `u${i}` };
      await loaders.for(ctx).private.load('k');
      refs.push(new WeakRef(ctx));
    }
    for (let i = 0; i < 5; i += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      collect();
    }
    expect(refs.filter((ref) => ref.deref() !== undefined).length).toBeLessThanOrEqual(1);
  });

  it.each([null, undefined, 'session'])('has no view for %j', (ctx) => {
    const loaders = createLoaders(() => ({ users: new DataLoader<string, string>(async (ids) => ids) }));
    expect(() => loaders.for(ctx as never)).toThrow(/@x\/dataloader: for\(ctx\) must be given an object, got/);
  });

  it('refuses a loader named "for"', () => {
    expect(() => createLoaders(() => ({ for: new DataLoader<number, number>(async (keys) => keys) }))).toThrow('"for"');
  });
});
