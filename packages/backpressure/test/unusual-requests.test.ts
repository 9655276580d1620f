import { once } from 'node:events';
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ConcurrencyLimiter } from '@x/backpressure';
import { withAdmission } from '@x/backpressure/http';
import { describe, expect, test } from 'vitest';
import { held, openRaw, serve, until } from './admission-server.ts';

function fullLimiter(): ConcurrencyLimiter {
  const limiter = new ConcurrencyLimiter({ limit: 1, maxQueue: 0 });
  limiter.tryAcquire();
  return limiter;
}

const full = () => serve((_, response) => response.end('served'), { limiter: fullLimiter() });
const answers = (text: string): string[] => text.match(/(?<=HTTP\/1\.1 )\d+/g) ?? [];

describe('a refusal', () => {
  test('of HEAD has the headers and no body, and the connection stays in step', async () => {
    const { port } = await full();
    const { socket, text } = await openRaw(port);
    socket.write('HEAD /mcp HTTP/1.1\r\nHost: x\r\n\r\nHEAD /health HTTP/1.1\r\nHost: x\r\n\r\n');
    await until(() => answers(text()).length === 2);
    expect(answers(text())).toEqual(['503', '200']);
    expect(text()).toMatch(/Retry-After: \d+\r\n/);
    expect(text()).toMatch(/Content-Length: [1-9]\d+\r\n/);
    expect(text()).not.toContain('jsonrpc');
  });

  test('of what asks for an upgrade that nobody listens for is an answer like any other', async () => {
    const { port } = await full();
    const { socket, text } = await openRaw(port);
    socket.write(
      'GET /mcp HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    );
    await until(() => text().includes('server_overloaded'));
    expect(answers(text())).toEqual(['503']);
  });

  test('of chunked bodies, with trailers and extensions, leaves the connection of use', async () => {
    const { port } = await full();
    const { socket, text } = await openRaw(port);
    socket.write(
      'POST /mcp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: x-a\r\n\r\n8;a=b\r\n{"id":1}\r\n0\r\nx-a: 1\r\n\r\n',
    );
    await until(() => answers(text()).length === 1);
    socket.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
    await until(() => text().includes('served'));
    expect(answers(text())).toEqual(['503', '200']);
  });

  test('of a request whose body was read before, as a body parser does, is whole at once', async () => {
    const gate = withAdmission(() => {}, { shedder: { check: () => ({ reason: 'shed', retryAfterMs: 1 }) } });
    const whole: boolean[] = [];
    const server = createServer(async (request, response) => {
      for await (const _ of request);
      gate(request, response);
      whole.push(response.writableEnded);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { socket, text } = await openRaw((server.address() as AddressInfo).port);
    const post = 'POST /mcp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n';
    for (let n = 1; n <= 3; n++) {
      socket.write(post);
      await until(() => answers(text()).length === n);
    }
    expect(whole).toEqual([true, true, true]);
    socket.destroy();
    server.close();
  });

  test('of pipelined requests comes in the order of the requests, after what is served before it', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1, maxQueue: 0 });
    const { handler, responses } = held();
    const { port } = await serve(handler, { limiter });
    const { socket, text } = await openRaw(port);
    const post = (id: number) => `POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n${JSON.stringify({ id })}`;
    socket.write([1, 2, 3].map(post).join(''));
    await until(() => responses.length === 1 && limiter.stats().rejected.queue_full === 2);
    await new Promise((resolve) => setImmediate(resolve));
    expect(text()).toBe('');
    responses[0]?.end('first');
    await until(() => answers(text()).length === 3);
    expect(answers(text())).toEqual(['200', '503', '503']);
    expect(text().indexOf('"id":2')).toBeLessThan(text().indexOf('"id":3'));
    await limiter.onIdle();
    socket.write(post(4));
    await until(() => responses.length === 2);
    expect(limiter.stats()).toMatchObject({ inFlight: 1, admitted: 2 });
  });

  test('of a malformed or an oversized head is Node’s, and takes no permit', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1 });
    const { handler, requests } = held();
    const { port } = await serve(handler, { limiter });
    for (const [head, status] of [
      [`GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(100_000)}\r\n\r\n`, '431'],
      [`GET /${'x'.repeat(100_000)} HTTP/1.1\r\nHost: x\r\n\r\n`, '431'],
      ['GET / HTTP/1.1\r\nHost x\r\n\r\n', '400'],
      ['POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n', '400'],
      ['POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n', '400'],
    ] as const) {
      const { socket, text, closed } = await openRaw(port);
      socket.write(head);
      await closed;
      expect(answers(text())).toEqual([status]);
    }
    expect(requests).toEqual([]);
    expect(limiter.stats()).toMatchObject({ admitted: 0, queued: 0 });
  });

  test.each([
    '*',
    '//',
    '/?',
    '/%',
    '/%00',
    '/\u00e9',
    '/health\u00e9',
    'http://x',
    'http://x?/health',
    'http://x#/health',
    'http://x:1#@y/health',
    'ftp://x/health',
    '/http://x/health',
  ])('is what an odd target gets: %s', async (target) => {
    const { port } = await full();
    const { socket, text } = await openRaw(port);
    socket.write(`OPTIONS ${target} HTTP/1.1\r\nHost: x\r\n\r\nGET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`, 'latin1');
    await until(() => answers(text()).length > 0 && (answers(text()).includes('400') || answers(text()).length === 2));
    expect(text()).not.toContain('served');
  });

  test('is not what a check in absolute form gets', async () => {
    const { port } = await full();
    const { socket, text } = await openRaw(port);
    socket.write('GET HTTP://x:1/health?a HTTP/1.1\r\nHost: x\r\n\r\nPOST http://x/health HTTP/1.1\r\nHost: x\r\n\r\n');
    await until(() => answers(text()).length === 2);
    expect(answers(text())).toEqual(['200', '503']);
  });
});

describe('a client that waits for 100 Continue', () => {
  test('is told to go on by Node, before the gate, where nobody listens for it', async () => {
    const { port } = await full();
    const { socket, text } = await openRaw(port);
    socket.write('POST /mcp HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n');
    await until(() => answers(text()).length === 2);
    expect(answers(text())).toEqual(['100', '503']);
    socket.write('{"id":1}GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
    await until(() => text().includes('served'));
  });

  test('is refused without having sent its body where the gate listens for it', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1, maxQueue: 0 });
    const { server, port } = await serve((_, response) => response.end('served'), { limiter });
    server.on(
      'checkContinue',
      withAdmission(
        async (request, response) => {
          response.writeContinue();
          let body = '';
          for await (const chunk of request) body += chunk;
          response.end(`served ${body}`);
        },
        { limiter },
      ),
    );
    const send = async () => {
      const client = httpRequest({ port, method: 'POST', headers: { Expect: '100-continue', 'Content-Length': 4 } });
      let continued = false;
      client.on('continue', () => {
        continued = true;
        client.end('body');
      });
      client.on('error', () => {});
      client.flushHeaders();
      const [response] = (await once(client, 'response')) as [IncomingMessage];
      let body = '';
      for await (const chunk of response) body += chunk;
      client.destroy();
      return { status: response.statusCode, connection: response.headers.connection, continued, body };
    };
    expect(await send()).toMatchObject({ status: 200, continued: true, body: 'served body' });
    await limiter.onIdle();
    const permit = limiter.tryAcquire();
    expect(await send()).toMatchObject({
      status: 503,
      connection: 'close',
      continued: false,
      body: expect.stringContaining('server_overloaded'),
    });
    permit?.release();
  });
});

describe('a client that sends slowly', () => {
  test('holds no permit while its head is on its way', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1 });
    const { url, port } = await serve((_, response) => response.end('served'), { limiter });
    const slow = await Promise.all(Array.from({ length: 20 }, () => openRaw(port)));
    for (const { socket } of slow) socket.write('POST /mcp HTTP/1.1\r\nHost: x\r\nX-A: ');
    for (const { socket } of slow) socket.write('a');
    expect(await (await fetch(url)).text()).toBe('served');
    expect(limiter.stats()).toMatchObject({ admitted: 1, queued: 0 });
  });

  test('loses the permit that its body holds when Node’s request time-out cuts it off', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1 });
    const { port, url } = await serve(
      async (request, response) => {
        for await (const _ of request);
        response.end('served');
      },
      { limiter },
      { requestTimeout: 100, headersTimeout: 50, connectionsCheckingInterval: 20 },
    );
    const { socket, closed } = await openRaw(port);
    socket.write('POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc');
    await until(() => limiter.stats().inFlight === 1);
    const waiting = fetch(url);
    await closed;
    expect(await (await waiting).text()).toBe('served');
    await limiter.onIdle();
  });
});

test('a client that does not read its answer loses the permit when the time-out of the server cuts it off', async () => {
  const limiter = new ConcurrencyLimiter({ limit: 1 });
  const { port, server, url } = await serve(
    (request, response) => response.end(request.url === '/large' ? Buffer.alloc(30_000_000) : 'served'),
    { limiter },
  );
  server.timeout = 100;
  const { socket } = await openRaw(port);
  socket.pause();
  socket.write('GET /large HTTP/1.1\r\nHost: x\r\n\r\n');
  await until(() => limiter.stats().inFlight === 1);
  await limiter.onIdle();
  expect(await (await fetch(url)).text()).toBe('served');
});

test('an upgrade that the server listens for does not pass the gate, which is for requests', async () => {
  const limiter = fullLimiter();
  const { server, port } = await serve((_, response) => response.end('served'), { limiter });
  server.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 101 Switching Protocols\r\n\r\n'));
  const { socket, text } = await openRaw(port);
  socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n');
  await until(() => text().includes('101'));
  expect(limiter.stats().rejected.queue_full).toBe(0);
});
