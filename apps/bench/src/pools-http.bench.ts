import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { HttpPool } from '@x/pools/http';
import { Agent, Client, request } from 'undici';
import { Rounds, verdict } from './pools-rounds.ts';

const ours = '@x/pools, all guards on';
const plain = '@x/pools, defaults';
const bare = 'undici.request';
const native = 'global fetch';
const barest = 'undici.Client.dispatch, no promise for the headers, no stream for the body';
const wire = 'the wire: ready bytes over one socket, the answer not read';

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
  const client = new Client(url);
  const socket = await connected(url);
  // What one caller at a time can get from undici at all, and from this server.
  const limits = { [barest]: () => dispatched(client), [wire]: () => exchanged(socket, url) };
  for (const callers of [1, 10, 50]) {
    // Rounds long enough that each contender collects its own garbage.
    const rounds = await Rounds.run(callers === 1 ? { ...contenders, ...limits } : contenders, callers, 15, 2_000);
    const label = `HTTP GET of JSON, ${callers} ${callers === 1 ? 'caller' : 'callers'}`;
    rounds.report(label, [{ of: ours, beside: bare, atLeast: 0.85 }]);
    const timesFetch = rounds.ratio(ours, native);
    if (callers === 1) {
      for (const limit of [bare, barest, wire]) {
        console.log(`${label}: ${limit} / ${native} = ${rounds.ratio(limit, native).toFixed(2)} (a limit)`);
      }
      console.log(`${label}: ${ours} / ${barest} = ${rounds.ratio(ours, barest).toFixed(2)}`);
    }
    verdict(`${label}: ${ours} / ${native}`, timesFetch, 'at least', 2);
  }
  socket.destroy();
  await client.close();
  await agent.close();
}

/** The least that undici does for a request: its own parser and queue, and the text of the body parsed. */
function dispatched(client: Client): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    client.dispatch(
      { path: '/', method: 'GET' },
      {
        onRequestStart() {},
        onResponseStart() {},
        onResponseData(_controller, chunk) {
          chunks.push(chunk);
        },
        onResponseEnd() {
          resolve(JSON.parse(Buffer.concat(chunks).toString()));
        },
        onResponseError(_controller, error) {
          reject(error);
        },
      },
    );
  });
}

async function connected(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  await once(socket, 'connect');
  return socket;
}

function exchanged(socket: Socket, url: string): Promise<void> {
  return new Promise((resolve) => {
    socket.once('data', () => resolve());
    socket.write(`GET / HTTP/1.1\r\nhost: ${url.slice('http://'.length)}\r\nconnection: keep-alive\r\n\r\n`);
  });
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
       // A contender may wait for its turn longer than the five seconds for which Node keeps a connection.
       server.keepAliveTimeout = 0;
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
