import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const SUFFIX = '.bench.js';
const available = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith(SUFFIX))
  .map((file) => file.slice(0, -SUFFIX.length))
  .sort();

const usage = `Usage: node dist/main.js [name…]

Runs the benchmarks of the packages named, or of all, one after the other, each in a process of its own so that
none sees the JIT, the heap or the timers of another.

Names: ${available.join(', ')}

  --help   print this`;

/** What a process started for one benchmark is told; not meant to be typed. */
const CHILD = 'BENCH_CHILD';

process.exitCode = process.env[CHILD] === undefined ? await runAll() : await runOne(process.env[CHILD]);

async function runAll(): Promise<number> {
  const chosen = parse();
  if (typeof chosen === 'number') return chosen;
  const failed: string[] = [];
  for (const name of chosen) {
    console.log(`\n=== ${name} ===\n`);
    if ((await runChild(name)) !== 0) failed.push(name);
  }
  if (failed.length > 0) console.error(`\nfailed: ${failed.join(', ')}`);
  return failed.length > 0 ? 1 : 0;
}

/** The names to run, or the exit code. */
function parse(): readonly string[] | number {
  try {
    const { values, positionals } = parseArgs({ allowPositionals: true, options: { help: { type: 'boolean' } } });
    if (values.help) {
      console.log(usage);
      return 0;
    }
    const unknown = positionals.filter((name) => !available.includes(name));
    if (unknown.length === 0) return positionals.length > 0 ? positionals : available;
    console.error(`No benchmark named ${unknown.join(', ')}.\n\n${usage}`);
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n\n${usage}`);
  }
  return 2;
}

function runChild(name: string): Promise<number> {
  // With the garbage collector at hand, mitata starts each measurement on a clean heap.
  const child = spawn(process.execPath, ['--expose-gc', join(import.meta.dirname, 'main.js')], {
    stdio: 'inherit',
    env: { ...process.env, [CHILD]: name },
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
}

/** `loadtest.bench.js` exports `runLoadtestBench`, a dash begins a new word. */
async function runOne(name: string): Promise<number> {
  const module = await import(pathToFileURL(join(import.meta.dirname, name + SUFFIX)).href);
  const words = name.split('-').map((word) => word.charAt(0).toUpperCase() + word.slice(1));
  const run: unknown = module[`run${words.join('')}Bench`];
  if (typeof run !== 'function') throw new Error(`${name}${SUFFIX} has no function of the expected name`);
  await run();
  return 0;
}
