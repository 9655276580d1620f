import { Metrics } from '@x/metrics';
import { bench, do_not_optimize, group, run } from 'mitata';
import { Histogram, Registry } from 'prom-client';

type Handler = (args: { id: string }, context: { signal: AbortSignal }) => Promise<{ content: never[] }>;

const calls = 1_000;

/**
 * What measuring a tool call costs: a bare handler, ours, and what one would write by hand with prom-client; then what a
 * scrape costs with as many series in both.
 */
export async function runMetricsBench(): Promise<void> {
  const handler: Handler = async () => ({ content: [] });
  const metrics = new Metrics({ defaultMetrics: false });
  const contenders: Record<string, Handler> = {
    'bare handler': handler,
    '@x/metrics': metrics.instrumentTool('tool_0', handler),
    'prom-client by hand': byHand('tool_0', handler),
    'prom-client startTimer': withTimer('tool_0', handler),
  };
  const context = { signal: new AbortController().signal };
  group(`${calls} tool calls`, () => {
    for (const [name, call] of Object.entries(contenders)) {
      bench(name, async () => {
        for (let n = 0; n < calls; n++) do_not_optimize(await call({ id: 'u1' }, context));
      }).gc('inner');
    }
  });

  for (let tool = 0; tool < 50; tool++) {
    await metrics.instrumentTool(`tool_${tool}`, handler)({ id: 'u1' }, context);
    await byHand(`tool_${tool}`, handler)({ id: 'u1' }, context);
  }
  group('scrape', () => {
    bench('@x/metrics, 50 tools', async () => do_not_optimize(await metrics.registry.metrics())).gc('inner');
    bench('prom-client, 50 tools', async () => do_not_optimize(await registry.metrics())).gc('inner');
  });

  const { benchmarks } = await run({ throw: true });
  // The fastest round, not the median: what else runs on the machine only ever adds.
  const time = new Map<string, number>();
  for (const trial of benchmarks) {
    for (const { name, stats } of trial.runs) if (stats) time.set(name, stats.min);
  }
  printRatios(time);
}

const registry = new Registry();
const histogram = new Histogram({
  name: 'tool_execution_duration_seconds',
  help: 'Time from the call of a tool to its end.',
  labelNames: ['tool_name', 'status'],
  buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
  registers: [registry],
});

function byHand(name: string, handler: Handler): Handler {
  return async (args, context) => {
    const startedAt = performance.now();
    let status = 'error';
    try {
      const result = await handler(args, context);
      status = 'success';
      return result;
    } finally {
      histogram.observe({ tool_name: name, status }, (performance.now() - startedAt) / 1000);
    }
  };
}

function withTimer(name: string, handler: Handler): Handler {
  return async (args, context) => {
    const end = histogram.startTimer({ tool_name: name });
    let status = 'error';
    try {
      const result = await handler(args, context);
      status = 'success';
      return result;
    } finally {
      end({ status });
    }
  };
}

function printRatios(time: ReadonlyMap<string, number>): void {
  const at = (name: string) => time.get(name) ?? Number.NaN;
  const bare = at('bare handler');
  const overhead = (name: string) => (at(name) - bare) / calls;
  console.log('\ntime added to a call in the fastest round, ns, and ours / peer');
  for (const name of ['@x/metrics', 'prom-client by hand', 'prom-client startTimer'])
    console.log(
      `  ${name.padEnd(24)} ${overhead(name).toFixed(0).padStart(6)}  ${(overhead('@x/metrics') / overhead(name)).toFixed(2)}`,
    );
  const scrape = at('@x/metrics, 50 tools') / at('prom-client, 50 tools');
  console.log(`scrape of 50 tools, ours / prom-client by hand: ${scrape.toFixed(2)}`);
}
