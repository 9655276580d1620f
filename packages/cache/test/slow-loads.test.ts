import { Cache } from '@x/cache';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';

/** A stale entry and a load that the test ends. */
async function stale(options: ConstructorParameters<typeof Cache>[0] = {}) {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 1_000, staleIfErrorMs: 60_000, softTimeoutMs: 100, clock, ...options });
  await cache.set('k', 'old');
  await clock.advance(1_000);
  const load = slow();
  return { cache, clock, ...load };
}

function slow() {
  const state = {
    runs: 0,
    signal: undefined as AbortSignal | undefined,
    finish: (_: string) => {},
    fail: (_: Error) => {},
    load: ({ signal }: { signal: AbortSignal }) => {
      state.runs++;
      state.signal = signal;
      return new Promise<string>((resolve, reject) => {
        state.finish = resolve;
        state.fail = reject;
      });
    },
  };
  return { state, load: state.load };
}

test('after softTimeoutMs callers get what is stale, and the load ends in the background', async () => {
  const { cache, clock, state, load } = await stale();
  const call = cache.getOrSetEntry('k', load);
  let answered = false;
  void call.then(() => (answered = true));
  await clock.advance(99);
  expect(answered).toBe(false);
  await clock.advance(1);
  expect(await call).toMatchObject({ value: 'old', stale: true });
  state.finish('new');
  await clock.advance(0);
  expect(cache.peek('k')).toBe('new');
  expect(state.runs).toBe(1);
  expect(cache.stats()).toMatchObject({ loads: 1, staleServed: 1 });
  expect(clock.pendingTimers).toBeLessThanOrEqual(1);
});

test('it counts from where the load began: a slow one delays nobody twice', async () => {
  const { cache, clock, load } = await stale();
  const first = cache.getOrSet('k', load);
  await clock.advance(60);
  const second = cache.getOrSet('k', load);
  await clock.advance(40);
  expect([await first, await second]).toEqual(['old', 'old']);
  expect(await cache.getOrSet('k', load)).toBe('old');
});

test('a load that is quick enough is waited for', async () => {
  const { cache, clock, state, load } = await stale();
  const call = cache.getOrSet('k', load);
  await clock.advance(99);
  state.finish('new');
  expect(await call).toBe('new');
  await clock.advance(10);
  expect(cache.peek('k')).toBe('new');
});

test('without anything stale callers wait on, to the hard time-out', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ softTimeoutMs: 100, loadTimeoutMs: 500, clock });
  const { load, state } = slow();
  const call = cache.getOrSet('k', load);
  const refused = expect(call).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
  await clock.advance(499);
  expect(state.signal?.aborted).toBe(false);
  await clock.advance(1);
  await refused;
});

test('what is past staleIfErrorMs is not served, nor what was deleted meanwhile', async () => {
  const past = await stale({ staleIfErrorMs: 50 });
  const waiting = past.cache.getOrSet('k', past.load);
  await past.clock.advance(200);
  past.state.finish('new');
  expect(await waiting).toBe('new');

  const deleted = await stale();
  const call = deleted.cache.getOrSet('k', deleted.load);
  await deleted.cache.delete('k');
  await deleted.clock.advance(200);
  deleted.state.finish('late');
  expect(await call).toBe('late');
  expect(deleted.cache.peek('k')).toBeUndefined();
});

test('callers who were served do not abort the load by leaving', async () => {
  const { cache, clock, state, load } = await stale();
  const caller = new AbortController();
  const call = cache.getOrSet('k', load, { signal: caller.signal });
  await clock.advance(100);
  expect(await call).toBe('old');
  caller.abort();
  expect(state.signal?.aborted).toBe(false);
  state.finish('new');
  await clock.advance(0);
  expect(cache.peek('k')).toBe('new');
});

test('a caller may leave while it waits, and a failure before the time-out is covered as ever', async () => {
  const { cache, clock, state, load } = await stale();
  const caller = new AbortController();
  const call = cache.getOrSet('k', load, { signal: caller.signal });
  caller.abort(new Error('left'));
  await expect(call).rejects.toThrow('left');
  expect(state.signal?.aborted).toBe(true);
  const failing = cache.getOrSet('k', load);
  state.fail(new Error('down'));
  expect(await failing).toBe('old');
  await clock.advance(1_000);
});

test('both time-outs can be a call’s own', async () => {
  const { cache, clock, load } = await stale({ softTimeoutMs: undefined });
  const call = cache.getOrSet('k', load, { softTimeoutMs: 10 });
  await clock.advance(10);
  expect(await call).toBe('old');
  const hard = cache.getOrSet('other', () => new Promise(() => {}), { loadTimeoutMs: 20 });
  const refused = expect(hard).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
  await clock.advance(20);
  await refused;
  await expect(cache.getOrSet('k', load, { softTimeoutMs: 2 ** 31 })).rejects.toThrow(RangeError);
});

test('maxLoads bounds what a flood of distinct keys can occupy', async () => {
  const { cache, clock, load, state } = await stale({ maxLoads: 2, softTimeoutMs: undefined });
  const other = slow();
  const running = [cache.getOrSet('a', load), cache.getOrSet('b', other.load)];
  await expect(cache.getOrSet('c', load)).rejects.toMatchObject({ code: 'ERR_OVERLOADED' });
  expect(await cache.getOrSet('k', load)).toBe('old');
  // Whoever shares a load that runs needs no more room.
  running.push(cache.getOrSet('a', load));
  state.finish('x');
  other.state.finish('x');
  expect(await Promise.all(running)).toEqual(['x', 'x', 'x']);
  expect(await cache.getOrSet('c', () => 'well')).toBe('well');
  await clock.advance(0);
});
