import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { Logger } from '../logger.ts';

/** Starts the upstream API in a child process. Rejects if it ends before it listens. */
export async function startUpstream(logger: Logger): Promise<{ url: string; close(): Promise<void> }> {
  // Its standard output would be that of a stdio server, where nothing but JSON-RPC may appear.
  const child = fork(new URL('./main.js', import.meta.url), { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const port = await listening(child);
  let closing = false;
  child.once('exit', (code, signal) => {
    if (!closing) logger.error({ code, signal }, 'the upstream API has ended; tools that need it fail until a restart');
  });
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      closing = true;
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      if (child.connected) child.disconnect();
      await exited;
    },
  };
}

function listening(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('message', (message: { port: number }) => resolve(message.port));
    child.once('error', reject);
    child.once('exit', (code, signal) =>
      reject(new Error(`the upstream API ended before it listened (${signal ?? `exit code ${code}`})`)),
    );
  });
}
