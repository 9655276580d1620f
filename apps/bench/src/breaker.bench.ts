import { CircuitBreaker } from '@x/breaker';
import { ConsecutiveBreaker, circuitBreaker, handleAll, SamplingBreaker } from 'cockatiel';
import { bench, group, run } from 'mitata';
import CircuitBreakerOpossum from 'opossum';

const calls = 100;
const opossumOptions = { rollingCountTimeout: 10_000, resetTimeout: 1e9 };

const work = async (): Promise<number> => 1;
const boom = new Error('boom');
const fail = (): Promise<number> => Promise.reject(boom);

/** Our breaker beside its peers: calls that succeed, are refused, fail with a full window; what a call allocates, and an idle breaker holds. */
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
  const windowed = { 'empty window': failing(0), 'window of 50,000': failing(50_000) };
  const bytes = await bytesPerCall(closed);

  compare('success', closed);
  compare('refusal', refusing);
  compare('failure', windowed);
  const { benchmarks } = await run();
  opossum.shutdown();

  const stats = new Map(benchmarks.map(({ alias, runs: [first] }) => [alias, first?.stats]));
  const ns = (name: string) => (stats.get(name)?.p50 ?? Number.NaN) / calls;
  const overhead = (name: string) => ns(`success ${name}`) - ns('success bare');
  const ours = overhead('@x/breaker');
  show(
    'success, overhead over the bare function: @x/breaker / cockatiel consecutive',
    0.7,
    ours / overhead('cockatiel consecutive'),
  );
  show('success, overhead: @x/breaker / opossum defaults', 0.2, ours / overhead('opossum defaults'));
  show(
    'success, overhead, 10 s window: @x/breaker / cockatiel sampling',
    0.8,
    overhead('@x/breaker 10 s window') / overhead('cockatiel sampling'),
  );
  const [oursBytes = Number.NaN, theirs = Number.NaN] = [bytes['@x/breaker'], bytes['cockatiel consecutive']];
  show('success, bytes per call: @x/breaker / cockatiel consecutive', 0.5, oursBytes / theirs);
  console.log(`  (${oursBytes} and ${theirs} bytes, of which ${bytes.bare} are the bare function's)`);
  for (const peer of ['cockatiel', 'opossum'])
    show(`refusal: @x/breaker / ${peer}`, 0.2, ns('refusal @x/breaker') / ns(`refusal ${peer}`));
  show('failure: window of 50,000 / empty window', 1.2, ns('failure window of 50,000') / ns('failure empty window'));
  const idle = idleBreaker();
  show('bytes for each idle breaker, consecutive rule', 1_000, idle.bytes, 0);
  show('timers for 5,000 idle breakers', 0, idle.timers, 0);
}

/** One result beside the goal, which it should not exceed. */
function show(what: string, goal: number, value: number, digits = 2): void {
  console.log(`${what} = ${value.toFixed(digits)} (goal: at most ${goal})${value <= goal ? '' : ' MISSED'}`);
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

/** Bytes that one call allocates: the median of short rounds, each on a heap that was just collected. */
async function bytesPerCall(contenders: Record<string, () => Promise<unknown>>): Promise<Record<string, number>> {
  const rounds: Record<string, number[]> = {};
  for (let round = 0; round < 41; round++) {
    for (const [name, call] of Object.entries(contenders)) {
      globalThis.gc?.();
      const before = process.memoryUsage().heapUsed;
      for (let n = 0; n < 500; n++) await call();
      rounds[name] = [...(rounds[name] ?? []), (process.memoryUsage().heapUsed - before) / 500];
    }
  }
  return Object.fromEntries(
    Object.entries(rounds).map(([name, list]) => [name, Math.round(list.sort((a, b) => a - b)[20] ?? Number.NaN)]),
  );
}

function idleBreaker(): { bytes: number; timers: number } {
  const count = 5_000;
  const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  globalThis.gc?.();
  const before = { heap: process.memoryUsage().heapUsed, timers: timers() };
  const breakers = Array.from({ length: count }, () => new CircuitBreaker());
  globalThis.gc?.();
  const bytes = Math.round((process.memoryUsage().heapUsed - before.heap) / breakers.length);
  return { bytes, timers: timers() - before.timers };
}
