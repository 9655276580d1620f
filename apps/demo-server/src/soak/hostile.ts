import { connect, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { argumentsOf, toolOf } from './calls.ts';
import { JSON_HEADERS, toolCall } from './exchange.ts';
import type { Ledger } from './ledger.ts';
import { judge, leaksInternals } from './outcome.ts';
import type { Recorder } from './recorder.ts';
import { sleep, type Target } from './target.ts';

const SLOW_CONNECTIONS = 100;

/** Clients that send a right call and hang up, before, while or after it is worked on; some in the middle of the body. */
export async function abortHalfWay(
  { server, http }: Target,
  holdMs: number,
  _recorder: Recorder,
  ledger: Ledger,
): Promise<void> {
  const end = performance.now() + holdMs;
  let n = 0;
  await Promise.all(
    Array.from({ length: 10 }, async () => {
      while (performance.now() < end) {
        const tool = toolOf(++n);
        const batch = ledger.batch();
        const args = argumentsOf(tool, n, server.upstreamUrl, batch.title);
        if (n % 4 === 0) {
          await hangUpInTheBody(server.url, toolCall(tool, args));
          continue;
        }
        const caller = new AbortController();
        const timer = setTimeout(() => caller.abort(), (n * 7) % 60);
        const exchange = await http.call(tool, args, caller.signal);
        clearTimeout(timer);
        batch.settle(judge(exchange));
      }
    }),
  );
}

/** What no client should send. Each is answered with a 4xx, or with a result that says what was wrong. */
export async function sendGarbage({ http }: Target, holdMs: number, recorder: Recorder): Promise<void> {
  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
  const rpc = (method: string, params: unknown) => JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
  const requests: [name: string, body: string | Buffer, headers?: Record<string, string>][] = [
    ['no JSON', '{"jsonrpc":'],
    ['nothing', ''],
    ['bytes', Buffer.from([0xff, 0xfe, 0x00, 0x80])],
    ['6 MB', toolCall('process_large_dataset', { numbers: 'x'.repeat(6_000_000) })],
    ['a bomb', gzipSync(Buffer.alloc(20_000_000)), { 'content-encoding': 'gzip' }],
    ['a broken gzip', Buffer.from('not gzip at all'), { 'content-encoding': 'gzip' }],
    ['a batch', `[${toolCall('get_user', { user_id: 'u1' })}]`],
    ['depth', `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_user","arguments":${deep}}}`],
    ['another type', 'user_id=u1', { 'content-type': 'application/x-www-form-urlencoded' }],
    ['another charset', toolCall('get_user', {}), { 'content-type': 'application/json; charset=utf-99' }],
    ['an unknown method', rpc('tools/explode', {})],
    ['an unknown tool', toolCall('drop_tables', {})],
    ['no arguments', toolCall('get_user', undefined)],
    ['SQL', toolCall('get_user', { user_id: "u1'; DROP SCHEMA mcp_demo CASCADE; --" })],
    [
      'a prototype',
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"__proto__","arguments":{"__proto__":{"x":1}}}}',
    ],
    ['too many numbers', toolCall('process_large_dataset', { numbers: Array.from({ length: 100_001 }, () => 1) })],
    [
      'wrong items',
      toolCall('batch_create_assignments', { assignments: [null, 1, {}, { title: '', assignee_id: 'x' }] }),
    ],
    ['a forbidden address', toolCall('fetch_with_limit', { urls: ['http://169.254.169.254/latest/meta-data/'] })],
    ['an address with a password', toolCall('fetch_with_limit', { urls: ['http://a:b@127.0.0.1:1/'] })],
    ['another host', toolCall('get_user', { user_id: 'u1' }), { host: 'evil.example' }],
    ['another origin', toolCall('get_user', { user_id: 'u1' }), { origin: 'https://evil.example' }],
    ['a protocol version', toolCall('get_user', { user_id: 'u1' }), { 'mcp-protocol-version': '1999-01-01' }],
  ];
  const end = performance.now() + holdMs;
  do {
    for (const [name, body, headers] of requests) {
      const answer = await http.post('/mcp', body, headers);
      // The rest of a body that is too large is not read: the connection may be cut while it is still being sent.
      if (answer.status === 0 && name === '6 MB') continue;
      if (answer.status === 0) recorder.violation(`garbage (${name}) got no answer`, answer.body);
      else if (leaksInternals(answer.body)) {
        recorder.violation(`garbage (${name}) got internals in its answer`, answer.body.slice(0, 300));
      } else if (!(answer.status === 200 || answer.status === 503 || (answer.status >= 400 && answer.status < 500))) {
        recorder.violation(`garbage (${name}) was answered ${answer.status}`, answer.body.slice(0, 300));
      } else if (answer.status === 200 && !/"isError":true|"error":|"failed":\[\{/.test(answer.body)) {
        recorder.violation(`garbage (${name}) was taken for a good call`, answer.body.slice(0, 300));
      }
    }
  } while (performance.now() < end);
}

/** Connections that send their headers a letter at a time (slow loris). */
export async function slowHeaders({ server }: Target, holdMs: number): Promise<void> {
  await trickle(server.url, 'POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-', holdMs);
}

/** Connections that announce a body and send it a letter at a time. */
export async function slowBodies({ server }: Target, holdMs: number): Promise<void> {
  await trickle(server.url, `${head(1_000_000)}{"jsonrpc":"`, holdMs);
}

async function trickle(url: string, start: string, holdMs: number): Promise<void> {
  const sockets = Array.from({ length: SLOW_CONNECTIONS }, () => open(url));
  for (const socket of sockets) socket.write(start);
  for (const end = performance.now() + holdMs; performance.now() < end; await sleep(200)) {
    for (const socket of sockets) if (socket.writable) socket.write('x');
  }
  for (const socket of sockets) socket.destroy();
}

async function hangUpInTheBody(url: string, body: string): Promise<void> {
  const socket = open(url);
  socket.write(head(Buffer.byteLength(body)) + body.slice(0, body.length / 2));
  await sleep(10);
  socket.resetAndDestroy();
}

/** A connection whose end is nobody's concern. */
function open(url: string): Socket {
  const { hostname, port } = new URL(url);
  return connect(Number(port), hostname)
    .on('error', () => {})
    .resume();
}

function head(length: number): string {
  const headers = Object.entries({ host: '127.0.0.1', ...JSON_HEADERS, 'content-length': length });
  return `POST /mcp HTTP/1.1\r\n${headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
}
