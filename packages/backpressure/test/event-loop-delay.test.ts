import { LoadShedder } from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import { expect, test, vi } from 'vitest';

const delays = vi.hoisted(() => {
  const seen: number[] = [];
  return {
    seen,
    enable: () => true,
    disable: () => true,
    reset: () => void seen.splice(0),
    get mean() {
      return seen.length === 0 ? Number.NaN : seen.reduce((sum, each) => sum + each, 0) / seen.length;
    },
  };
});
vi.mock('node:perf_hooks', async (original) => ({
  ...(await original<object>()),
  monitorEventLoopDelay: () => delays,
}));

test('the delay is that of the last sample, not of all since the process started', async () => {
  const clock = new ManualClock();
  const shedder = new LoadShedder({ eventLoopDelayMs: 100, sampleMs: 250, clock });
  const sample = async (...delaysMs: number[]): Promise<number> => {
    // The monitor's own resolution of 10 ms is part of what it sees.
    delays.seen.push(...delaysMs.map((ms) => (ms + 10) * 1e6));
    await clock.advance(250);
    return shedder.stats().pressure;
  };
  // An hour of calm does not hide a storm, and a storm is over when it is.
  for (let n = 0; n < 100; n++) expect(await sample(0, 0, 0)).toBe(0);
  expect(await sample(150)).toBe(1.5);
  expect(await sample(0, 0)).toBe(0);
  expect(await sample()).toBe(0);
  await shedder.close();
});
