#!/usr/bin/env node
import { runCommandLine } from './command-line.ts';

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    // Whoever read it has read enough, as `head` does.
    if (error.code !== 'EPIPE') throw error;
  });
}

const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // The first asks for what was measured so far, the second does not want to wait for it.
    if (interrupted.signal.aborted) process.exit(130);
    interrupted.abort(new Error(signal));
  });
}

process.exitCode = await runCommandLine(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  signal: interrupted.signal,
});
