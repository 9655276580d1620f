import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';

/** Starts the upstream API in a child process. Rejects if it ends before it listens. */
export async function startUpstream(): Promise<{ url: string; close(): Promise<void> }> {
  // Its standard output would be that of a stdio server, where nothing but JSON-RPC may appear.
  const child = fork(new URL('./main.js', import.meta.url), { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const port = await listening(child);
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
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
