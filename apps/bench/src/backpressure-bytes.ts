import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { burst, type Call, peers, TASKS } from './backpressure-peers.ts';

/** Bytes for each of 10,000 tasks: what is held while all of them wait, and all that is allocated until the last has ended. */
export interface Bytes {
  held: number;
  allocated: number;
}

/** In a process of its own for each, whose new space is large enough that nothing is collected meanwhile. */
export function measureBytes(name: string): Bytes {
  const flags = ['--expose-gc', '--min-semi-space-size=128', '--max-semi-space-size=128'];
  const { stdout } = spawnSync(process.execPath, [...flags, fileURLToPath(import.meta.url), name], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return JSON.parse(stdout) as Bytes;
}

async function measureHere(call: Call): Promise<Bytes> {
  for (let round = 0; round < 30; round++) await burst(call);
  const held: number[] = [];
  const allocated: number[] = [];
  for (let round = 0; round < 11; round++) {
    globalThis.gc?.();
    const before = process.memoryUsage().heapUsed;
    const all = Array.from({ length: TASKS }, call);
    held.push((process.memoryUsage().heapUsed - before) / TASKS);
    await Promise.all(all);
    allocated.push((process.memoryUsage().heapUsed - before) / TASKS);
  }
  return { held: middle(held), allocated: middle(allocated) };
}

function middle(values: number[]): number {
  return Math.round(values.sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const make = peers[process.argv[2] ?? ''];
  if (make !== undefined) console.log(JSON.stringify(await measureHere(make())));
}
