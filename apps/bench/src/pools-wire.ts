import { spawn } from 'node:child_process';
import type { Duplex } from 'node:stream';
import pg from 'pg';

/**
 * The wire itself: Bind, Execute and Sync of one prepared statement as bytes that are ready, over one connection, answers
 * counted by their length and not read. Nothing that talks to this server from Node can be faster.
 */
export async function rawWire(connectionString: string): Promise<{ call(): Promise<void>; close(): Promise<void> }> {
  const client = new pg.Client(connectionString);
  // Its socket is cut at the end, with no goodbye.
  client.on('error', () => {});
  await client.connect();
  await client.query({ name: 'n', text: 'select $1::int as n', values: [1] });
  const stream = client.connection.stream as Duplex;
  stream.removeAllListeners('data');
  const question = Buffer.concat([
    // Bind: the unnamed portal, statement n, one parameter as text, the result as text.
    message('B', Buffer.from('\0n\0\0\0\0\x01\0\0\0\x011\0\0', 'latin1')),
    message('D', Buffer.from('P\0')),
    message('E', Buffer.from('\0\0\0\0\0')),
    message('S', Buffer.alloc(0)),
  ]);
  const waiting: (() => void)[] = [];
  let answerLength = 0;
  let bytes = 0;
  let answered = 0;
  let asked = 0;
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (answerLength === 0) return;
    while (answered < Math.floor(bytes / answerLength)) waiting[answered++ % slots]?.();
  });
  const slots = 1 << 16;
  const call = (): Promise<void> =>
    new Promise((resolve) => {
      waiting[asked++ % slots] = resolve;
      stream.write(question);
    });
  stream.write(question);
  while (bytes === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  answerLength = bytes;
  bytes = 0;
  return {
    call,
    async close() {
      stream.destroy();
    },
  };
}

function message(kind: string, body: Buffer): Buffer {
  const bytes = Buffer.alloc(5 + body.length);
  bytes.write(kind);
  bytes.writeInt32BE(body.length + 4, 1);
  body.copy(bytes, 5);
  return bytes;
}

/** What PostgreSQL's own benchmark gets, in statements a second; undefined where it is not installed. */
export function pgbench(connectionString: string, clients: number): Promise<number | undefined> {
  const { hostname, port, username, password, pathname } = new URL(connectionString);
  const args = [
    '-n',
    '-M',
    'prepared',
    '-f',
    '-',
    '-T',
    '2',
    '-c',
    `${clients}`,
    '-h',
    hostname,
    '-p',
    port,
    '-U',
    username,
  ];
  const child = spawn('pgbench', [...args, pathname.slice(1)], {
    env: { ...process.env, PGPASSWORD: decodeURIComponent(password) },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  child.stdin.on('error', () => {});
  child.stdin.end('\\set n 1\nselect :n::int as n;\n');
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  return new Promise((resolve) => {
    child.once('error', () => resolve(undefined));
    child.once('close', () => {
      const tps = /tps = ([\d.]+)/.exec(output)?.[1];
      resolve(tps === undefined ? undefined : Number(tps));
    });
  });
}
