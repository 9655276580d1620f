import { type PostgresService, startPostgres } from '@x/local-services';
import { PostgresPool } from '@x/pools/postgres';
import { ManualClock, TcpProxy } from '@x/testkit';
import { afterAll, beforeAll, expect, it } from 'vitest';

let server: PostgresService;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server?.[Symbol.asyncDispose]());

it.each([
  [1, [25, 50, 100, 200, 400, 500, 500]],
  [0, [12.5, 25, 50, 100, 200, 250, 250]],
])(
  'a server that is away is tried at intervals that double up to half a second, less a random half (%d)',
  async (random, expected) => {
    await using proxy = await TcpProxy.start(server.url);
    const manual = new ManualClock();
    const connectTimeoutMs = 50_000;
    const waits: number[] = [];
    const clock = {
      now: manual.now,
      clearTimeout: manual.clearTimeout,
      setTimeout(fn: () => void, ms: number) {
        if (ms !== connectTimeoutMs) waits.push(ms);
        return manual.setTimeout(fn, ms);
      },
    };
    await using pool = new PostgresPool({
      connectionString: proxy.through(server.url),
      minSize: 1,
      maxSize: 2,
      connectTimeoutMs,
      clock,
      random: () => random,
    });
    await pool.start();
    proxy.faults.refuse = true;
    proxy.resetAll();
    for (let attempt = 1; attempt <= expected.length; attempt++) {
      await expect.poll(() => waits.length, { timeout: 5_000 }).toBe(attempt);
      if (attempt < expected.length) await manual.advance(waits.at(-1) ?? 0);
    }
    expect(waits).toEqual(expected);
    expect(pool.stats()).toMatchObject({ size: 0 });
    // Nobody has asked for it: it is there again after the next interval.
    proxy.faults.refuse = false;
    await manual.advance(500);
    await expect.poll(() => pool.stats(), { timeout: 5_000 }).toMatchObject({ size: 1, idle: 1, waiting: 0 });
  },
);
