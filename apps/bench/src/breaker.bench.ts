import { CircuitBreaker } from '@x/breaker';
import { ConsecutiveBreaker, circuitBreaker, handleAll, SamplingBreaker } from 'cockatiel';
import { bench, group, run } from 'mitata';
import CircuitBreakerOpossum from 'opossum';

const calls = 100;
const opossumOptions = { rollingCountTimeout: 10_000, resetTimeout: 1e9 };

const work = async (): Promise<number> => 1;
const boom = new Error('boom');
const fail = (): Promise<number> => Promise.reject(boom);

/** Our breaker beside its peers: a call that succeeds, a call that is refused, a call that fails with a full window, an idle breaker's size. */
export async function runBreakerBench(): Promise<void> {
  const opossum = new CircuitBreakerOpossum(work, opossumOptions);
  const closed: Record<string, () => Promise<unknown>> = {
    bare: work,
    '@x/breaker': runs(new CircuitBreaker()),
    '@x/breaker 10 s window': runs(new CircuitBreaker({ window: { ms: 10_000 } })),
    'cockatiel consecutive': executes(new ConsecutiveBreaker(5)),
    'cockatiel sampling': executes(new SamplingBreaker({ threshold: 0.5, duration: 10_000 })),
    'opossum defaults': () => opossum.fire(),
  };
  const refusing = await opened();
  const windowed = { empty: failing(0), full: failing(50_000) };

  compare('success', closed);
  compare('refusal', refusing);
  compare('failure', { 'empty window': windowed.empty, 'window of 50,000': windowed.full });
  const { benchmarks } = await run();
  opossum.shutdown();

  const stats = new Map(benchmarks.map(({ alias, runs: [first] }) => [alias, first?.stats]));
  const ns = (name: string) => (stats.get(name)?.p50 ?? Number.NaN) / calls;
  const bytes = (name: string) => (stats.get(name)?.heap?.avg ?? Number.NaN) / calls;
  const overhead = (name: string) => ns(`success ${name}`) - ns('success bare');
  const show = (what: string, ratio: number) => console.log(`${what} = ${ratio.toFixed(2)}`);
  show(
    'success, overhead over the bare function: @x/breaker / cockatiel consecutive',
    overhead('@x/breaker') / overhead('cockatiel consecutive'),
  );
  show('success, overhead: @x/breaker / opossum defaults', overhead('@x/breaker') / overhead('opossum defaults'));
  show(
    'success, overhead, 10 s window: @x/breaker / cockatiel sampling',
    overhead('@x/breaker 10 s window') / overhead('cockatiel sampling'),
  );
  show(
    'success, bytes per call: @x/breaker / cockatiel consecutive',
    bytes('success @x/breaker') / bytes('success cockatiel consecutive'),
  );
  for (const peer of ['cockatiel', 'opossum'])
    show(`refusal: @x/breaker / ${peer}`, ns('refusal @x/breaker') / ns(`refusal ${peer}`));
  show('failure: window of 50,000 / empty window', ns('failure window of 50,000') / ns('failure empty window'));
  console.log(`bytes for each idle breaker: ${idleBytes()}`);
}

function runs(breaker: CircuitBreaker): () => Promise<unknown> {
  return () => breaker.run(work);
}

function executes(rule: ConsecutiveBreaker | SamplingBreaker): () => Promise<unknown> {
  const policy = circuitBreaker(handleAll, { halfOpenAfter: 1e9, breaker: rule });
  return () => policy.execute(work);
}

async function opened(): Promise<Record<string, () => Promise<unknown>>> {
  const ours = new CircuitBreaker({ failureThreshold: 1, recoveryTimeoutMs: 1e9 });
  const cockatiel = circuitBreaker(handleAll, { halfOpenAfter: 1e9, breaker: new ConsecutiveBreaker(1) });
  const opossum = new CircuitBreakerOpossum(fail, { ...opossumOptions, timeout: false });
  const peers = {
    '@x/breaker': () => ours.run(fail).catch(() => {}),
    cockatiel: () => cockatiel.execute(fail).catch(() => {}),
    opossum: () => opossum.fire().catch(() => {}),
  };
  for (const call of Object.values(peers)) await call();
  opossum.open();
  return peers;
}

/** A call that fails, on a breaker whose window has so many calls in it and never opens. */
function failing(inWindow: number): () => Promise<unknown> {
  const breaker = new CircuitBreaker({ window: { ms: 600_000 }, failureRate: 1 });
  breaker.tryAcquire()?.success();
  for (let n = 0; n < inWindow; n++) breaker.tryAcquire()?.success();
  return () => breaker.run(fail).catch(() => {});
}

function compare(kind: string, contenders: Record<string, () => Promise<unknown>>): void {
  group(() => {
    for (const [name, call] of Object.entries(contenders)) {
      bench(`${kind} ${name}`, async () => {
        for (let n = 0; n < calls; n++) await call();
      });
    }
  });
}

function idleBytes(): number {
  const count = 5_000;
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  const breakers = Array.from({ length: count }, () => new CircuitBreaker());
  globalThis.gc?.();
  const after = process.memoryUsage().heapUsed;
  return Math.round((after - before) / breakers.length);
}
