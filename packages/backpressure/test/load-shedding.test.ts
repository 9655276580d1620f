import { LoadShedder, type LoadShedderOptions } from '@x/backpressure';
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
