import { Batcher, DataLoader } from '@x/dataloader';
import { describe, expect, it } from 'vitest';

const clock = 'clock must be an object with now(), setTimeout() and clearTimeout(), got null';
const batchFn = async (keys: readonly number[]) => keys;

describe('only undefined counts as absent', () => {
  it.each([
    [{ name: 5 }, 'name must be a string, got 5'],
    [{ batch: null }, 'batch must be true or false, got null'],
    [{ cache: 'false' }, "cache must be true or false, got 'false'"],
    [{ orderedHits: null }, 'orderedHits must be true or false, got null'],
    [{ dedupe: 1 }, 'dedupe must be true or false, got 1'],
    [{ cacheErrors: null }, 'cacheErrors must be true, false or a function, got null'],
    [{ missing: null }, "missing must be 'undefined', 'null' or 'error', got null"],
    [{ schedule: null }, "schedule must be 'tick', 'immediate', 'adaptive' or { windowMs, maxWaitMs? }, got null"],
    [{ maxEntries: '5' }, "maxEntries must be an integer >= 1 or Infinity, got '5'"],
    [{ ttlMs: null }, 'ttlMs must be a finite number of milliseconds > 0, got null'],
    [{ maxConcurrentBatches: null }, 'maxConcurrentBatches must be an integer >= 1 or Infinity, got null'],
    [{ batchTimeoutMs: null }, 'batchTimeoutMs must be a finite number of milliseconds > 0, got null'],
    [{ clock: null }, clock],
  ])('a DataLoader refuses %j', (options, message) => {
    expect(() => new DataLoader(batchFn, options as never)).toThrow(`@x/dataloader: ${message}`);
  });

  it('but a DataLoader takes null where graphql/dataloader does', async () => {
    expect(new DataLoader(batchFn, null).name).toBeNull();
    const loader = new DataLoader(batchFn, { name: null, cacheMap: null });
    expect(await Promise.all([loader.load(1), loader.load(1)])).toEqual([1, 1]);
    expect(loader.stats().keysLoaded).toBe(2);
  });

  it.each([
    [{ name: null }, 'name must be a string, got null'],
    [{ maxBatchSize: '5' }, "maxBatchSize must be an integer >= 1 or Infinity, got '5'"],
    [{ maxBatchBytes: 5, bytesOf: null }, 'bytesOf must be a function, got null'],
    [{ windowMs: null }, 'windowMs must be a finite number of milliseconds > 0, got null'],
    [{ batchTimeoutMs: null }, 'batchTimeoutMs must be a finite number of milliseconds > 0, got null'],
    [{ clock: null }, clock],
  ])('a Batcher refuses %j', (options, message) => {
    expect(() => new Batcher(batchFn, options as never)).toThrow(`@x/dataloader: ${message}`);
  });
});
