import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { ConcurrencyLimiter, KneeLimit } from '@x/backpressure';
import { type RequestHandler, requestSignal } from '@x/backpressure/http';
import { describe, expect, test } from 'vitest';
import { afterTest, openRaw, serve, until, watchUncaught } from './admission-server.ts';

const uncaught = watchUncaught();

/** Reads the body and works for a moment, as most handlers do. */
const handler: RequestHandler = async (request, response) => {
  let bytes = 0;
  for await (const chunk of request) bytes += (chunk as Buffer).length;
  await new Promise((resolve) => setTimeout(resolve, 3));
  response.end(`served ${bytes}`);
};
const answers = (text: string): string[] => text.match(/(?<=HTTP\/1\.[01] )\d+/g) ?? [];
const post = (body: string, head = ''): string =>
  `POST /mcp HTTP/1.1\r\nHost: x\r\n${head}Content-Length: ${body.length}\r\n\r\n${body}`;

function full(): ConcurrencyLimiter {
  const limiter = new ConcurrencyLimiter({ limit: 1, maxQueue: 0 });
  limiter.tryAcquire();
  return limiter;
}

describe('HTTP/1.0', () => {
  test('is refused with the body and the end of the connection', async () => {
    const { port } = await serve(handler, { limiter: full() });
    const { socket, text, closed } = await openRaw(port);
    socket.write('POST /mcp HTTP/1.0\r\nContent-Length: 8\r\n\r\n{"id":1}');
    await closed;
    expect(answers(text())).toEqual(['503']);
    expect(text().match(/server_overloaded/g)).toHaveLength(1);
    expect(JSON.parse(text().slice(text().indexOf('{')))).toMatchObject({ id: 1, error: { code: 503 } });
  });

  test('is served, and gives its permit back', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1 });
    const { port } = await serve(handler, { limiter });
    const { socket, text, closed } = await openRaw(port);
    socket.write('POST /mcp HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}');
    await closed;
    expect(text()).toContain('served 2');
    await limiter.onIdle();
  });
});

describe('a client that ends its own half of the connection', () => {
  test.each([
    ['whole', post('{"id":1}')],
    ['in its head', 'POST /mcp HTTP/1.1\r\nHost: x\r\n'],
    ['in its body', 'POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"id"'],
    ['in a chunk', 'POST /mcp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{"id"'],
  ])('after a request that is %s keeps no permit', async (_, bytes) => {
    for (const refuses of [false, true]) {
      const limiter = refuses ? full() : new ConcurrencyLimiter({ limit: 1 });
      const before = limiter.stats().inFlight;
      const { port, connections } = await serve(handler, { limiter });
      const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      afterTest(() => socket.destroy());
      socket.on('error', () => {}).resume();
      socket.end(bytes);
      await until(() => connections.length === 1 && connections[0]?.destroyed === true);
      await until(() => limiter.stats().inFlight === before && limiter.stats().queued === 0);
      expect(uncaught).toEqual([]);
    }
  });
});

test('a batch, deep JSON and an id of a megabyte are refused with one body each, on one connection', async () => {
  const { port } = await serve(handler, { limiter: full() });
  const { socket, text } = await openRaw(port);
  const bodies = [
    `[${Array.from({ length: 50 }, (_, id) => `{"jsonrpc":"2.0","id":${id},"method":"tools/call"}`).join()}]`,
    '['.repeat(4_000),
    `{"jsonrpc":"2.0","id":"${'x'.repeat(200_000)}"}`,
    `{"jsonrpc":"2.0","id":${'9'.repeat(3_000)}}`,
    '{"jsonrpc":"2.0","id":7,"method":"x"}',
  ];
  for (const [n, body] of bodies.entries()) {
    socket.write(post(body));
    await until(() => answers(text()).length === n + 1);
  }
  await until(() => text().match(/server_overloaded/g)?.length === bodies.length);
  expect(text().match(/"id":(null|7)/g)).toEqual(['"id":null', '"id":null', '"id":null', '"id":null', '"id":7']);
});

test('after any of them, in any company, no permit is lost and the server answers', async () => {
  // Mulberry32, so that what fails once fails again.
  let state = 20_26;
  const random = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, random() * 6));
  const partial = 'POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"id":1';
  const attacks: ((socket: Socket) => void | Promise<void>)[] = [
    (socket) => void socket.write(post('{"id":1}').repeat(20)),
    (socket) => void socket.write(partial),
    (socket) => void socket.end(partial),
    (socket) => void socket.write(`${post('{"id":2}')}${partial}`, () => socket.resetAndDestroy()),
    (socket) => void socket.write('HEAD /mcp HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(10)),
    (socket) => void socket.write('GET /mcp HTTP/1.0\r\n\r\n'),
    (socket) => void socket.write(post('{"id":3}', 'Expect: 100-continue\r\n')),
    (socket) => void socket.write('POST /mcp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'),
    (socket) => void socket.write('\0'.repeat(100)),
    async (socket) => {
      for (const byte of post('{"id":4}')) {
        socket.write(byte);
        if (random() < 0.1) await pause();
      }
    },
  ];
  const limiters = [
    new ConcurrencyLimiter({ limit: 2, maxQueue: 3, queueTimeoutMs: 5 }),
    new ConcurrencyLimiter({ limit: new KneeLimit({ initialLimit: 2 }), maxQueue: 50 }),
  ];
  for (const [n, limiter] of limiters.entries()) {
    let inWork = 0;
    const { url, port, connections } = await serve(
      async (request, response) => {
        inWork++;
        try {
          if (random() < 0.3) requestSignal(request, response);
          if (random() < 0.1) throw new Error('of the handler');
          await handler(request, response);
        } finally {
          inWork--;
        }
      },
      { limiter, ...(n === 1 && { deadlineMs: () => 20 }) },
    );
    await Promise.all(
      Array.from({ length: 150 }, async () => {
        await pause();
        const { socket } = await openRaw(port);
        await attacks[Math.floor(random() * attacks.length)]?.(socket);
        await pause();
        if (random() < 0.5) socket.destroy();
        else socket.end();
      }),
    );
    // What was sent may not have been read yet.
    await until(() => connections.length === 150 && connections.every((connection) => connection.destroyed));
    await limiter.onIdle();
    await until(() => inWork === 0);
    expect(await (await fetch(url, { method: 'POST', body: 'abc' })).text()).toMatch(/served 3|Internal error/);
    await limiter.onIdle();
    const { admitted, completed } = limiter.stats();
    expect(admitted).toBe(completed);
    // How many had come to that before their client left is a matter of the machine.
    expect(admitted).toBeGreaterThan(0);
  }
  expect(uncaught).toEqual([]);
}, 30_000);
