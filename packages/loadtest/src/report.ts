import { failureClasses } from './outcome.ts';
import type { LatencySummary, LoadTestResult } from './recorder.ts';

/** The result for people. */
export function renderReport(result: LoadTestResult): string {
  const { total, successes, failures, latencyMs, failureLatencyMs } = result;
  const loop = result.rate === null ? '' : `, ${result.rate} requests per second wanted`;
  const lines = [
    `${result.tool} at ${result.target}`,
    `${result.concurrency} at most in flight${loop}, measured for ${(result.durationMs / 1000).toFixed(1)} s${result.aborted ? ' (interrupted)' : ''}`,
    '',
    row('requests', String(total)),
    row('successes', share(successes, total)),
    row('failures', share(failures, total)),
    row('requests per second', result.requestsPerSecond.toFixed(1)),
    '',
    ...latency('latency, ms (successes and time-outs)', latencyMs),
  ];
  if (failures > result.failuresByClass.timeout.count)
    lines.push('', ...latency('latency, ms (other failures)', failureLatencyMs));
  if (failures > 0) {
    lines.push('', 'failures');
    for (const name of failureClasses) {
      const { count, codes, samples } = result.failuresByClass[name];
      if (count === 0) continue;
      const byCode = Object.entries(codes).map(([code, times]) => `${code} ${times}`);
      lines.push(`  ${name.padEnd(9)} ${count}  (${byCode.join(', ')})`);
      for (const sample of samples) lines.push(`    ${sample.count} x ${sample.message}`);
    }
  }
  for (const warning of warnings(result)) lines.push('', warning);
  return `${lines.join('\n')}\n`;
}

function warnings({ notSent, rate, generatorUtilization }: LoadTestResult): string[] {
  const found: string[] = [];
  if (notSent > 0)
    found.push(
      `${notSent} requests were due but not sent: the server did not keep up with ${rate} per second at this concurrency.`,
    );
  if (generatorUtilization > 0.9)
    found.push(
      `This process was busy ${(generatorUtilization * 100).toFixed(0)} % of the time: the generator, not the server, may be what was measured.`,
    );
  return found;
}

function latency(title: string, summary: LatencySummary): string[] {
  const { min, mean, p50, p90, p95, p99, p999, max } = summary;
  const columns = { min, mean, p50, p90, p95, p99, 'p99.9': p999, max };
  const width = 10;
  return [
    title,
    `  ${Object.keys(columns)
      .map((name) => name.padStart(width))
      .join('')}`,
    `  ${Object.values(columns)
      .map((ms) => (Number.isNaN(ms) ? '-' : ms.toFixed(1)).padStart(width))
      .join('')}`,
  ];
}

function share(count: number, total: number): string {
  return total === 0 ? String(count) : `${count}  (${((count * 100) / total).toFixed(2)} %)`;
}

function row(name: string, value: string): string {
  return `${name.padEnd(22)}${value}`;
}
