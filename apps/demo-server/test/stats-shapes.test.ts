import { BackpressureQueue, ConcurrencyLimiter, RateLimiter } from '@x/backpressure';
import { CircuitBreaker } from '@x/breaker';
import { Cache } from '@x/cache';
import { Batcher, DataLoader } from '@x/dataloader';
import { Metrics, type Observable, type ObservableKind } from '@x/metrics';
import { HttpPool } from '@x/pools/http';
import { PostgresPool } from '@x/pools/postgres';
import { WorkerPool } from '@x/pools/workers';
import { expect, test } from 'vitest';
import { main } from './demo.ts';

/** One of each class, under the kind that it is observed as. What does not fit does not compile. */
const things = {
  cache: new Cache(),
  breaker: new CircuitBreaker(),
  limiter: new ConcurrencyLimiter({ limit: 1 }),
  queue: new BackpressureQueue(),
  'rate-limiter': new RateLimiter({ limit: 1, intervalMs: 1_000 }),
  loader: new DataLoader(async (keys: readonly string[]) => keys),
  batcher: new Batcher(async (items: readonly string[]) => items),
  pool: new PostgresPool({ connectionString: 'postgres://127.0.0.1:1/none' }),
  http: new HttpPool(),
  workers: new WorkerPool({ filename: main, minThreads: 0 }),
} satisfies { [Kind in ObservableKind]: Observable<Kind> };

test('metrics reads what each class gives, and finds a number in every field', async () => {
  const metrics = new Metrics({ defaultMetrics: false });
  for (const [kind, thing] of Object.entries(things)) metrics.observe(kind as 'cache', kind, thing as Cache);
  const exposition = await metrics.registry.metrics();
  expect(exposition).not.toMatch(/NaN|undefined/);
  expect(exposition).not.toMatch(/^metrics_collect_errors_total\{.*\} [1-9]/m);
  for (const kind of Object.keys(things)) expect(exposition, kind).toContain(`="${kind}"`);
  await metrics.close();
  for (const thing of Object.values(things)) if ('close' in thing) await thing.close();
});
