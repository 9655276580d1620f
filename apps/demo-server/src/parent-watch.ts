import { readFileSync } from 'node:fs';

/** Programs between the person and this process that may be killed without a word to what they started. */
const LAUNCHERS = /(^|[/\s])(npx|npm|pnpm|node|sh|bash|dash|turbo)(\s|$|[\w.-]*\s)/;
const POLL_MS = 500;

/**
 * Calls `onGone` once, when one of the launchers that this process was started through (`npx` → `pnpm` → `sh`) has died:
 * a signal to `npx` alone does not reach what is below it. Watches nothing when started directly from a shell or a
 * service manager, which may rightly end before it. Returns a function that ends the watch.
 */
export function watchLaunchers(onGone: () => void): () => void {
  if (process.env.npm_lifecycle_event === undefined) return () => {};
  const parent = process.ppid;
  const launchers = findLaunchers();
  const timer = setInterval(() => {
    if (process.ppid === parent && launchers.every(({ pid, started }) => startTime(pid) === started)) return;
    clearInterval(timer);
    onGone();
  }, POLL_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** The ancestors up to the last one that is a package manager. */
function findLaunchers(): { pid: number; started: string }[] {
  const chain: { pid: number; started: string }[] = [];
  let upToPackageManager = 0;
  for (let pid = process.ppid; pid > 1; pid = parentOf(pid)) {
    const command = commandLine(pid);
    const started = startTime(pid);
    if (started === undefined || !LAUNCHERS.test(`${command} `)) break;
    chain.push({ pid, started });
    if (/\b(npx|npm|pnpm)\b/.test(command)) upToPackageManager = chain.length;
  }
  return chain.slice(0, upToPackageManager);
}

function commandLine(pid: number): string {
  return read(`/proc/${pid}/cmdline`)?.replaceAll('\0', ' ') ?? '';
}

function parentOf(pid: number): number {
  return Number(statFields(pid)?.[1] ?? 0);
}

/** Tells a process from a later one with the same pid. Undefined when there is none, and where there is no /proc. */
function startTime(pid: number): string | undefined {
  const fields = statFields(pid);
  return fields === undefined || fields[0] === 'Z' ? undefined : fields[19];
}

/** The fields of /proc/<pid>/stat from `state` on: those before it may contain spaces. See proc(5). */
function statFields(pid: number): string[] | undefined {
  return read(`/proc/${pid}/stat`)?.split(') ').pop()?.split(' ');
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
