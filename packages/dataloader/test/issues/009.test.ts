import { DataLoader } from '@x/dataloader';
import { expect, it } from 'vitest';

// A schedule that threw left its batch open: the load that opened it threw, and those after it joined a batch that nothing dispatched.
it('a schedule that throws fails its own load, and the next load has a batch of its own', async () => {
  let broken = true;
  const loader = new DataLoader<number, number>(async (keys) => keys, {
    batchScheduleFn(dispatch) {
      if (broken) throw new Error('no timers left');
      setImmediate(dispatch);
    },
  });
  expect(() => loader.load(1)).toThrow('no timers left');
  expect(() => loader.load(1)).toThrow('no timers left');
  broken = false;
  expect(await Promise.all([loader.load(1), loader.load(2)])).toEqual([1, 2]);
  expect(loader.stats()).toMatchObject({ batches: 1, keysLoaded: 2, queuedKeys: 0 });
});
