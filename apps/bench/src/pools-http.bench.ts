import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { HttpPool } from '@x/pools/http';
import { Agent, request } from 'undici';
import { Rounds } from './pools-rounds.ts';

const ours = '@x/pools, all guards on';
const plain = '@x/pools, defaults';
const bare = 'undici.request';
const native = 'global fetch';

/** HttpPool beside undici and fetch: GET of a small JSON over kept connections to a server in a process of its own. */
export async function runPoolsHttpBench(): Promise<void> {
  await using server = await startServer();
  const { url } = server;
  const guards = {
    egress: { allowOrigins: [url] },
    retry: {},
    headersTimeoutMs: 10_000,
    bodyTimeoutMs: 10_000,
    maxResponseBytes: 1_000_000,
    // As many as undici's Agent keeps: else the pool would open 30 of 50 anew in each round, after the rounds of the others.
    maxKeepAliveConnections: 100,
  };
  await using guarded = new HttpPool(guards);
  await using hedged = new HttpPool({ ...guards, hedge: {} });
  await using defaults = new HttpPool({ maxKeepAliveConnections: 100 });
  const agent = new Agent({ connections: 100 });
  const { signal } = new AbortController();
  const contenders = {
    [ours]: async () => (await guarded.get(url, { signal, timeoutMs: 5_000 })).json(),
    'the same, hedged': async () => (await hedged.get(url, { signal, timeoutMs: 5_000 })).json(),
    [plain]: async () => (await defaults.get(url)).json(),
    [bare]: async () => (await request(url, { dispatcher: agent })).body.json(),
    [native]: async () => (await fetch(url)).json(),
  };
  for (const callers of [1, 10, 50]) {
    // Rounds long enough that each contender collects its own garbage.
    const rounds = await Rounds.run(contenders, callers, 15, 2_000);
    rounds.report(`HTTP GET of JSON, ${callers} callers`, [
      { of: ours, beside: bare, atLeast: 0.85 },
      { of: ours, beside: native, atLeast: 2 },
    ]);
  }
  await limitOfWire(url);
  await agent.close();
}

/** What the kernel and the server leave to any client: bytes over one socket, neither built nor parsed. */
async function limitOfWire(url: string): Promise<void> {
  const { host, hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  await once(socket, 'connect');
  const request = `GET / HTTP/1.1\r\nhost: ${host}\r\nconnection: keep-alive\r\n\r\n`;
  const roundTrip = () =>
    new Promise<void>((resolve) => {
      socket.once('data', () => resolve());
      socket.write(request);
    });
  (await Rounds.run({ 'the wire alone': roundTrip }, 1, 15, 2_000)).report('HTTP GET of JSON, 1 caller', []);
  socket.destroy();
}

/** In a process of its own, so that the server's work is not counted as the client's. */
async function startServer(): Promise<AsyncDisposable & { url: string }> {
  const server = spawn(
    process.execPath,
    [
      '--eval',
      `const body = JSON.stringify({ id: 'u1', name: 'Ada', tags: ['a', 'b'] });
       const server = require('node:http').createServer((request, response) => {
         response.setHeader('content-type', 'application/json');
         response.end(body);
       });
       server.listen(0, '127.0.0.1', () => process.send(server.address().port));
       process.on('disconnect', () => process.exit());`,
    ],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  );
  const [port] = await once(server, 'message');
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.kill();
    },
  };
}
