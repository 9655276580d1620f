import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect as dial } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startChildServer } from '../src/child-server.ts';
import { build, cleanEnvironment, eventually, main, setUpstream } from './demo.ts';

/** Where the servers of a test keep their files, so that what is left can be told from what others have there. */
let temporary: string;

beforeEach(() => {
  build();
  temporary = mkdtempSync(join(tmpdir(), 'x-lifecycle-'));
  // PostgreSQL does not run as root: another user has to get through.
  chmodSync(temporary, 0o711);
});
afterEach(() => rmSync(temporary, { recursive: true, force: true }));

const start = (...args: string[]) => startChildServer(main, args, cleanEnvironment({ TMPDIR: temporary }));

/** Processes below `pid`, that one included, by /proc. */
function family(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      parents.set(Number(name), Number(readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').pop()?.split(' ')[1]));
    } catch {
      // It ended in the meantime.
    }
  }
  const found = [pid];
  for (const member of found) for (const [child, parent] of parents) if (parent === member) found.push(child);
  return found;
}

const alive = (pid: number) => {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').pop()?.startsWith('Z') === false;
  } catch {
    return false;
  }
};

const callSlowly = (url: string) =>
  fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name: 'call_external_api', arguments: { endpoint: 'status' } },
    }),
  });

test.each(['SIGTERM', 'SIGINT'] as const)(
  '%s: what runs is finished, then the server exits 0 and nothing is left of it',
  async (signal) => {
    const server = await start();
    const processes = family(server.process.pid as number);
    expect(processes.length).toBeGreaterThan(3);
    expect(readdirSync(temporary)).not.toEqual([]);

    await setUpstream(server, { mode: 'slow', delayMs: 1_000 });
    const answer = callSlowly(server.url);
    await eventually(async () => ((await (await fetch(`${server.upstreamUrl}/control`)).json()) as any).requests > 0);
    const exit = server.stop(signal);
    const response = await answer;
    expect(((await response.json()) as any).result.structuredContent.data).toEqual({ status: 'ok' });
    expect(await exit).toBe(0);
    await expect(fetch(server.url)).rejects.toThrow();
    await eventually(() => !processes.some(alive));
    expect(readdirSync(temporary)).toEqual([]);
  },
  60_000,
);

test('a connection on which half a request has come does not hold it up', async () => {
  const server = await start();
  const socket = dial(Number(new URL(server.url).port), '127.0.0.1');
  socket.on('error', () => {});
  socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHost: local');
  await once(socket, 'data');
  expect(await server.stop()).toBe(0);
}, 60_000);

test('killed without a word, it leaves no process and no folder behind', async () => {
  const server = await start();
  const processes = family(server.process.pid as number);
  await server.stop('SIGKILL');
  await eventually(() => !processes.some(alive));
  await eventually(() => readdirSync(temporary).length === 0);
}, 60_000);

test('when the launcher alone is killed, the server and its children end', async () => {
  // As `npx` → `pnpm` → `sh` → `node` would have it: a launcher that is not the direct parent, and passes no signal on.
  const launcher = spawn(
    process.execPath,
    [
      '-e',
      `require('node:child_process').spawn('sh', ['-c', '"$0" "$@"; true', process.execPath, ${JSON.stringify(main)}], { stdio: ['ignore', 'pipe', 'inherit'] }).stdout.pipe(process.stdout)`,
      'npm',
    ],
    {
      env: cleanEnvironment({ npm_lifecycle_event: 'demo', TMPDIR: temporary }),
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  await new Promise<void>((resolve) =>
    launcher.stdout.on('data', (text) => String(text).includes('MCP demo server') && resolve()),
  );
  const processes = family(launcher.pid as number);
  launcher.kill('SIGKILL');
  await eventually(() => !processes.some(alive));
  await eventually(() => readdirSync(temporary).length === 0);
}, 60_000);

test('a signal while it is still starting ends it in order', async () => {
  const child = spawn(process.execPath, [main], { env: cleanEnvironment({ TMPDIR: temporary }), stdio: 'ignore' });
  await eventually(() => family(child.pid as number).length > 1);
  const processes = family(child.pid as number);
  child.kill('SIGTERM');
  const code = await new Promise((resolve) => child.on('exit', resolve));
  expect(code).toBe(0);
  await eventually(() => !processes.some(alive));
  await eventually(() => readdirSync(temporary).length === 0);
}, 60_000);

test('a port that is taken, a database that is not there: a clear error and exit code 1', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => other.once('listening', resolve));
  const { port } = other.address() as AddressInfo;
  await expect(start('--port', String(port))).rejects.toThrow(/exit code 1[\s\S]*EADDRINUSE/);
  await expect(start('--database-url', 'postgres://nobody:hunter2@127.0.0.1:1/none')).rejects.toThrow(
    expect.objectContaining({ message: expect.not.stringContaining('hunter2') }),
  );
  other.close();
}, 60_000);

test('two servers run beside each other', async () => {
  const [one, two] = await Promise.all([start(), start()]);
  expect(one.url).not.toBe(two.url);
  expect(await Promise.all([one.stop(), two.stop()])).toEqual([0, 0]);
}, 60_000);
