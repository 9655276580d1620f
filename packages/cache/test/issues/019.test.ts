import { getEventListeners } from 'node:events';
import { Cache } from '@x/cache';
import { expect, test } from 'vitest';

// Each call that waited hung a listener of its own on its signal: Node warned of a leak at the eleventh call of one request.
test('calls that share a signal hang one listener on it, leave together, and leave nothing behind', async () => {
  const cache = new Cache();
  const caller = new AbortController();
  const listeners = () => getEventListeners(caller.signal, 'abort').length;
  const loaded = Array.from({ length: 20 }, (_, i) =>
    cache.getOrSet(`loaded ${i}`, () => i, { signal: caller.signal }),
  );
  expect(listeners()).toBe(1);
  expect(await Promise.all(loaded)).toEqual(Array.from({ length: 20 }, (_, i) => i));
  expect(listeners()).toBe(0);

  const never = () => new Promise<never>(() => {});
  const left = Array.from({ length: 20 }, (_, i) =>
    cache.getOrSet(`left ${i}`, never, { signal: caller.signal }).catch((error: unknown) => error),
  );
  left.push(
    cache.getOrSetMany(['left 0', 'left 20'], never, { signal: caller.signal }).then(String, (error: unknown) => error),
  );
  await Promise.resolve();
  expect(listeners()).toBe(1);
  caller.abort('gone');
  expect(await Promise.all(left)).toEqual(new Array(21).fill('gone'));
});
