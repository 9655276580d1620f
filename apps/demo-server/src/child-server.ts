import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** A demo server in a process of its own, as a user runs it. */
export interface ChildServer extends AsyncDisposable {
  url: string;
  upstreamUrl: string;
  process: ChildProcess;
  /** Every line that it logged so far. */
  log: readonly Record<string, unknown>[];
  /** Everything that it wrote to standard output so far. */
  output(): string;
  /** Sends SIGTERM (or another signal) and resolves with the exit code; null when the signal ended it. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

/** Starts `main` with the arguments and resolves once it listens; rejects with what it said if it ends before that. */
export async function startChildServer(
  main: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<ChildServer> {
  const child = spawn(process.execPath, [main, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const log: Record<string, unknown>[] = [];
  const said: string[] = [];
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  const exited = once(child, 'exit');

  const listening = await new Promise<Record<string, unknown>>((resolve, reject) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      said.push(line);
      const entry = parse(line);
      if (entry === undefined) return;
      log.push(entry);
      if (entry.msg === 'listening') resolve(entry);
    });
    exited.then(
      ([code, signal]) =>
        reject(
          new Error(`the server ended before it listened (${signal ?? `exit code ${code}`}):\n${said.join('\n')}`),
        ),
      reject,
    );
  });

  const stop = async (signal: NodeJS.Signals = 'SIGTERM') => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    await exited;
    return child.exitCode;
  };
  return {
    url: String(listening.url),
    upstreamUrl: String(listening.upstreamUrl),
    process: child,
    log,
    output: () => output,
    stop,
    [Symbol.asyncDispose]: async () => void (await stop()),
  };
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
