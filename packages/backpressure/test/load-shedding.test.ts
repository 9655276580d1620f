import { ConcurrencyLimiter, LoadShedder, type LoadShedderOptions } from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import { describe, expect, test } from 'vitest';

function setUp(options: LoadShedderOptions = {}) {
  const clock = new ManualClock();
  const at = { pressure: 0 };
  const shedder = new LoadShedder({
    eventLoopDelayMs: Number.POSITIVE_INFINITY,
    pressure: () => at.pressure,
    sampleMs: 100,
    clock,
    random: () => 0,
    ...options,
  });
  const see = async (pressure: number): Promise<string> => {
    at.pressure = pressure;
    await clock.advance(100);
    const { shedding } = shedder.stats();
    return `${shedding.sheddable ? 's' : '-'}${shedding.default ? 'd' : '-'}${shedding.critical ? 'c' : '-'}`;
  };
  return { clock, shedder, see };
}

describe('a load shedder', () => {
  test('sheds by priority, and only lets back in when it is well again', async () => {
    const { see } = setUp();
    expect(await see(0.79)).toBe('---');
    expect(await see(0.8)).toBe('s--');
    expect(await see(1)).toBe('sd-');
    expect(await see(1.5)).toBe('sdc');
    expect(await see(1.25)).toBe('sdc');
    expect(await see(1.15)).toBe('sd-');
    expect(await see(0.81)).toBe('sd-');
    expect(await see(0.79)).toBe('s--');
    expect(await see(0.65)).toBe('s--');
    expect(await see(0.63)).toBe('---');
  });

  test('says when to try again, and counts what it shed', async () => {
    const { see, shedder } = setUp();
    await see(1);
    expect(shedder.check()).toEqual({ reason: 'shed', retryAfterMs: 1_000 });
    expect(shedder.check({ priority: 'sheddable' })).toBeDefined();
    expect(shedder.check({ priority: 'critical' })).toBeUndefined();
    expect(shedder.stats()).toMatchObject({ pressure: 1, shed: { critical: 0, default: 1, sheddable: 1 } });
  });

  test('looks once in a sample, not once in a check, and never after close', async () => {
    let looks = 0;
    const { shedder, clock } = setUp({ pressure: () => ++looks });
    await clock.advance(100);
    for (let n = 0; n < 50; n++) shedder.check();
    expect(looks).toBe(1);
    expect(shedder.check()).toBeDefined();
    await shedder.close();
    expect(shedder.check()).toBeUndefined();
    await clock.advance(1_000);
    expect(looks).toBe(1);
    expect(clock.pendingTimers).toBe(0);
  });

  test('keeps no process alive', async () => {
    let kept = 0;
    const clock = new ManualClock();
    const setTimeout = (fn: () => void, ms: number) => {
      kept++;
      return { ...clock.setTimeout(fn, ms), unref: () => kept-- };
    };
    const options = { clock: { ...clock, setTimeout }, eventLoopDelayMs: Number.POSITIVE_INFINITY, pressure: () => 0 };
    const shedder = new LoadShedder(options);
    await clock.advance(1_000);
    expect(kept).toBe(0);
    await shedder.close();
  });

  test('bears a measure that throws', async () => {
    const { shedder, clock } = setUp({
      pressure: () => {
        throw new Error('x');
      },
      rssBytes: 1,
    });
    await clock.advance(100);
    expect(shedder.check()).toBeDefined();
    await shedder.close();
  });

  test('sees an event loop that is blocked, by its delay and by its utilisation', async () => {
    const delay = new LoadShedder({ eventLoopDelayMs: 20, sampleMs: 50 });
    const utilization = new LoadShedder({
      eventLoopDelayMs: Number.POSITIVE_INFINITY,
      eventLoopUtilization: 0.6,
      sampleMs: 50,
    });
    const seen = { delay: false, utilization: false };
    for (let turn = 0; turn < 40 && !(seen.delay && seen.utilization); turn++) {
      const end = performance.now() + 60;
      while (performance.now() < end);
      await new Promise((resolve) => setTimeout(resolve, 1));
      seen.delay ||= delay.check() !== undefined;
      seen.utilization ||= utilization.check() !== undefined;
    }
    await Promise.all([delay.close(), utilization.close()]);
    expect(seen).toEqual({ delay: true, utilization: true });
  });

  test('sheds the rest of a turn of the event loop that has lasted half the threshold, before any sample', async () => {
    const clock = new ManualClock({ now: 0 });
    const shedder = new LoadShedder({ clock, random: () => 0 });
    const shed = () =>
      (['sheddable', 'default', 'critical'] as const).filter((priority) => shedder.check({ priority }));
    expect(shed()).toEqual([]);
    clock.jump(39);
    expect(shed()).toEqual([]);
    clock.jump(1);
    expect(shed()).toEqual(['sheddable']);
    clock.jump(10);
    expect(shed()).toEqual(['sheddable', 'default']);
    clock.jump(25);
    expect(shed()).toEqual(['sheddable', 'default', 'critical']);
    // The next turn begins anew.
    await new Promise((resolve) => setImmediate(resolve));
    expect(shed()).toEqual([]);
    clock.jump(50);
    expect(shed()).toEqual(['sheddable', 'default']);
    await shedder.close();
    expect(shed()).toEqual([]);
  });

  test('has no turn too long where the delay of the event loop is switched off', async () => {
    const clock = new ManualClock({ now: 0 });
    const shedder = new LoadShedder({ clock, eventLoopDelayMs: Number.POSITIVE_INFINITY });
    expect(shedder.check()).toBeUndefined();
    clock.jump(1e6);
    expect(shedder.check()).toBeUndefined();
    await shedder.close();
  });

  test('sees memory', async () => {
    const heap = setUp({ heapRatio: 1e-6 });
    const rss = setUp({ rssBytes: 1 });
    const neither = setUp({ heapRatio: 1, rssBytes: 1e15 });
    expect(await heap.see(0)).toBe('sdc');
    expect(await rss.see(0)).toBe('sdc');
    expect(await neither.see(0)).toBe('---');
  });

  test('bad options are refused', () => {
    expect(() => new LoadShedder({ sampleMs: 0 })).toThrow('sampleMs must be a finite number > 0, got 0');
    expect(() => new LoadShedder({ heapRatio: 2 })).toThrow('heapRatio must be at most 1, got 2');
    expect(() => new LoadShedder({ eventLoopUtilization: 2 })).toThrow('eventLoopUtilization must be at most 1, got 2');
    expect(() => new LoadShedder({ eventLoopDelayMs: -1 })).toThrow('eventLoopDelayMs must be a finite number > 0');
  });
});

describe("the limiter's queue", () => {
  function watched() {
    const seen = { queued: 0, maxQueue: 10, admitted: 0, queueWaitMs: 0 };
    return { seen, limiter: { stats: () => ({ ...seen }) } };
  }

  test('sheds when so much of it is taken', async () => {
    const { seen, limiter } = watched();
    const { see } = setUp({ limiter, queueUtilization: 0.5 });
    expect(await see(0)).toBe('---');
    seen.queued = 4;
    expect(await see(0)).toBe('s--');
    seen.queued = 5;
    expect(await see(0)).toBe('sd-');
    seen.queued = 3;
    expect(await see(0)).toBe('---');
    seen.maxQueue = 0;
    expect(await see(0)).toBe('---');
  });

  test('sheds when those who were let in waited so long, over the sample and not since the start', async () => {
    const { seen, limiter } = watched();
    Object.assign(seen, { admitted: 1_000, queueWaitMs: 1e6 });
    const { see, shedder } = setUp({ limiter, queueWaitMs: 20 });
    expect(await see(0)).toBe('---');
    Object.assign(seen, { admitted: 1_010, queueWaitMs: 1e6 + 200, queued: 1 });
    expect(await see(0)).toBe('sd-');
    // Nobody was let in, and somebody waits: it has not become better.
    expect(await see(0)).toBe('sd-');
    seen.queued = 0;
    expect(await see(0)).toBe('---');
    Object.assign(seen, { admitted: 1_020, queueWaitMs: 1e6 + 300 });
    await see(0);
    expect(shedder.stats().pressure).toBe(0.5);
  });

  test('is looked at in a real limiter', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1, maxQueue: 2 });
    const { see } = setUp({ limiter, queueUtilization: 0.9 });
    const permit = limiter.tryAcquire();
    const waiting = [limiter.acquire(), limiter.acquire()];
    expect(await see(0)).toBe('sd-');
    permit?.release();
    for (const each of waiting) (await each).release();
    expect(await see(0)).toBe('---');
  });

  test('needs a limiter, and sensible thresholds', () => {
    const { limiter } = watched();
    expect(() => setUp({ queueUtilization: 0.5 })).toThrow('limiter must be given where queueUtilization is');
    expect(() => setUp({ queueWaitMs: 5 })).toThrow('limiter must be given where queueWaitMs is');
    expect(() => setUp({ limiter, queueUtilization: 1.5 })).toThrow('queueUtilization must be at most 1');
    expect(() => setUp({ limiter, queueWaitMs: 0 })).toThrow('queueWaitMs must be a finite number > 0');
    expect(() => setUp({ limiter: {} as never })).toThrow('limiter must be an object with stats()');
  });
});
