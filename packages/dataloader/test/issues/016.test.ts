import { DataLoader } from '@x/dataloader';
import Upstream from 'dataloader';
import { expect, it } from 'vitest';

// Errors for single keys reached their callers after the values of their batch that stand behind them: callers went on in
// another order than with upstream, and asked for their next keys in another order.
it.each([
  ['an Error behind a value', (key: number) => key % 2 === 1],
  ['an Error in front', (key: number) => key % 2 === 0],
  ['nothing but Errors', () => true],
  ['no Error', () => false],
])('the loads of a batch settle in their order, as with upstream: %s', async (_name, fails) => {
  const play = async (Loader: typeof Upstream | typeof DataLoader) => {
    const log: unknown[] = [];
    const loader = new (Loader as typeof Upstream)<number, number>(async (keys) => {
      log.push([...keys]);
      return keys.map((key) => (fails(key) ? new Error(`no ${key}`) : key));
    });
    const tell = (what: unknown) => void log.push(String(what));
    const callers = [0, 1, 2, 3].map(async (key) => {
      await loader.load(key).then(tell, tell);
      // Some go on after one promise callback, some after two.
      if (key < 2) await undefined;
      await loader.load(key + 10).then(tell, tell);
    });
    await Promise.all(callers);
    return log;
  };
  expect(await play(DataLoader)).toEqual(await play(Upstream));
});

it('an Error that has a `then` of its own is the error of its key all the same', async () => {
  const error = new Error('five');
  Object.defineProperty(error, 'then', { value: (resolve: (value: string) => void) => resolve('a value') });
  const byKey = new DataLoader<number, string>(async (keys) => keys.map(() => error));
  const byBatch = new DataLoader<number, string>(() => Promise.reject(error));
  for (const loader of [byKey, byBatch]) {
    const came = await loader.load(5).then(
      () => 'a value',
      (reason) => reason === error,
    );
    expect(came).toBe(true);
  }
});
