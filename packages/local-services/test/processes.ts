import { readdirSync, readFileSync } from 'node:fs';

export interface Process {
  pid: number;
  parent: number;
  state: string;
  started: string;
  command: string;
}

/** All processes of this machine, as Linux tells. */
function processes(): Process[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      const command = readFileSync(`/proc/${name}/cmdline`, 'latin1').replaceAll('\0', ' ');
      return [{ pid: Number(name), parent: Number(fields[1]), state: fields[0]!, started: fields[19]!, command }];
    } catch {
      return [];
    }
  });
}

export function descendants(pid: number): Process[] {
  const all = processes();
  const found = new Set([pid]);
  for (let size = 0; size !== found.size; ) {
    size = found.size;
    for (const process of all) if (found.has(process.parent)) found.add(process.pid);
  }
  return all.filter((process) => process.pid !== pid && found.has(process.pid));
}

/** Those that still run; what only waits to be buried by process 1 does not. */
export function stillRunning(some: Process[]): Process[] {
  const now = new Map(processes().map((process) => [process.pid, process]));
  return some.filter(({ pid, started }) => {
    const same = now.get(pid);
    return same !== undefined && same.started === started && same.state !== 'Z';
  });
}

export async function until(done: () => boolean | Promise<boolean>, timeoutMs = 30_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await done())) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${done}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
