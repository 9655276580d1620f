import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** Processes that never sleep, one for each processor: neighbours that leave nothing to spare. */
export function startBusyLoops(count: number): AsyncDisposable {
  const loops = Array.from({ length: count }, () =>
    // They end by themselves if nobody is left to end them.
    spawn(
      process.execPath,
      [
        '-e',
        'process.stdin.on("close", () => process.exit()).resume(); (function spin() { const until = Date.now() + 200; while (Date.now() < until); setImmediate(spin); })();',
      ],
      {
        stdio: ['pipe', 'ignore', 'ignore'],
      },
    ),
  );
  return {
    async [Symbol.asyncDispose]() {
      const ended = loops.map((loop) => once(loop, 'exit'));
      for (const loop of loops) loop.kill('SIGKILL');
      await Promise.all(ended);
    },
  };
}
