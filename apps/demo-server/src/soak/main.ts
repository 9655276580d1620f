#!/usr/bin/env node
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import { report } from './report.ts';
import { runSoak } from './soak.ts';

const { duration, out } = new Command('soak')
  .description('Load and faults on the demo server for a long time. Exits with 1 when it did anything it must not do.')
  .option('--duration <s>', 'how long, in seconds', seconds, 600)
  .option('--out <file>', 'where the result is written; without it, to standard output')
  .allowExcessArguments(false)
  .parse()
  .opts<{ duration: number; out?: string }>();

const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => interrupted.abort(new Error(`stopped by ${signal}`)));
}

const result = await runSoak({
  main: fileURLToPath(new URL('../main.js', import.meta.url)),
  durationMs: duration * 1_000,
  onProgress: (line) => console.error(line),
  signal: interrupted.signal,
});
for (const { what, atSeconds, phase, times } of result.recorder.violations) {
  console.error(`BROKEN at ${atSeconds.toFixed(1)} s during "${phase}", ${times} times: ${what}`);
}
const page = report(result);
if (out === undefined) console.log(page);
else {
  await mkdir(dirname(out), { recursive: true });
  await writeFile(out, page);
}
process.exitCode = result.recorder.violations.length === 0 ? 0 : 1;

function seconds(value: string): number {
  const number = Number(value);
  if (!(number >= 1 && number <= 86_400)) throw new InvalidArgumentError('Expected seconds, from 1 to 86400.');
  return number;
}
