import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConcurrencyLimiter } from '@x/backpressure';
import { requestSignal, withAdmission } from '@x/backpressure/http';
import { expect, test } from 'vitest';
import { afterTest, openRaw, serve, until } from '../admission-server.ts';

function full(): ConcurrencyLimiter {
  const limiter = new ConcurrencyLimiter({ limit: 1, maxQueue: 0 });
  limiter.tryAcquire();
  return limiter;
}

// Mounted under a path, as in Express's `app.use('/mcp', gate)`, the gate took /mcp/health for a check: `url` has only the rest of the path there.

test('a health path is one of the server, not one under which the gate is mounted', async () => {
  const gate = withAdmission((_, response) => response.end('served'), { limiter: full() });
  // As Express and Connect do.
  const server = createServer((request: IncomingMessage & { originalUrl?: string }, response) => {
    request.originalUrl = request.url as string;
    request.url = request.originalUrl.slice('/mcp'.length) || '/';
    gate(request, response);
  }).listen(0, '127.0.0.1');
  afterTest(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const path of ['/mcp/health', '/mcp/metrics?x', '/mcp'])
    expect((await fetch(url + path)).status, path).toBe(503);
  for (const path of ['/health', '/healthz?x']) expect((await fetch(url + path)).status, path).toBe(200);
});

// Node's own functions reject with an AbortError of theirs, whose cause is the signal's reason: every client that left was reported as a failure.

test('that a client has gone is reported to nobody, in whatever way the handler is told', async () => {
  const limiter = new ConcurrencyLimiter({ limit: 2 });
  const reported: unknown[] = [];
  let begun = 0;
  const { url } = await serve(
    async (request, response) => {
      begun++;
      const signal = requestSignal(request, response);
      if (request.url === '/own') {
        await sleep(60_000, undefined, { signal }).catch((error) => {
          throw new Error('rolled back badly', { cause: error.cause });
        });
      }
      await sleep(60_000, undefined, { signal });
    },
    { limiter, onError: (error) => reported.push(error) },
  );
  const client = new AbortController();
  const calls = ['/node', '/own'].map((path) => fetch(url + path, { signal: client.signal }).catch(() => {}));
  await until(() => begun === 2);
  client.abort();
  await Promise.all(calls);
  await limiter.onIdle();
  await until(() => reported.length > 0);
  expect(reported).toMatchObject([{ message: 'rolled back badly' }]);
});

test('nor is it where the client has gone while its body was read', async () => {
  const limiter = new ConcurrencyLimiter({ limit: 1 });
  const reported: unknown[] = [];
  const ended: unknown[] = [];
  const { port } = await serve(
    async (request) => {
      try {
        for await (const _ of request);
      } catch (error) {
        ended.push(error);
        throw error;
      }
    },
    { limiter, onError: (error) => reported.push(error) },
  );
  const { socket } = await openRaw(port);
  socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc');
  await until(() => limiter.stats().inFlight === 1);
  socket.destroy();
  await until(() => ended.length === 1);
  await limiter.onIdle();
  await new Promise((resolve) => setImmediate(resolve));
  expect(ended).toMatchObject([{ code: 'ECONNRESET' }]);
  expect(reported).toEqual([]);
});

// Bytes that are no UTF-8 became other characters: an id that was never sent.

test('an id of bytes that are no text is not given back', async () => {
  const { url } = await serve(() => {}, { limiter: full() });
  const idFor = async (body: Buffer) =>
    ((await (await fetch(url, { method: 'POST', body: body as never })).json()) as { id: unknown }).id;
  expect(await idFor(Buffer.from('{"id":"\u00e9"}'))).toBe('\u00e9');
  expect(await idFor(Buffer.from('{"id":"\u00e9"}', 'latin1'))).toBe(null);
});

// Where a permit was free a client that had no time left was served; where none was, one whose header was no number got 500.

test('a client without time is refused though a permit is free, and one that says nothing of use is served', async () => {
  const limiter = new ConcurrencyLimiter({ limit: 1 });
  const reported: unknown[] = [];
  const { url } = await serve((_, response) => response.end('served'), {
    limiter,
    deadlineMs: (request) => Number(request.headers['x-timeout-ms']),
    onError: (error) => reported.push(error),
  });
  const ask = (ms: string) => fetch(url, { headers: { 'x-timeout-ms': ms } });
  for (const ms of ['0', '-5']) {
    const refused = await ask(ms);
    expect(refused.status).toBe(503);
    expect(await refused.json()).toMatchObject({ error: { data: { reason: 'deadline' } } });
  }
  expect((await ask('soon')).status).toBe(200);
  await limiter.onIdle();
  const permit = limiter.tryAcquire();
  const waiting = ask('soon');
  await until(() => limiter.stats().queued === 1);
  permit?.release();
  expect((await waiting).status).toBe(200);
  expect(reported).toEqual([]);
});

// A caller was two where one socket takes IPv4 alone and another both kinds.

test.each([
  ['192.0.2.1', '192.0.2.1'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['::ffff:c000:201', '::ffff:c000:201'],
  ['2001:db8::ffff:1', '2001:db8::ffff:1'],
  [undefined, ''],
])('of a socket whose other end is %s the caller is %s', async (remoteAddress, caller) => {
  const callers: string[] = [];
  const rateLimiter = {
    consume: async (key: string) => {
      callers.push(key);
      return { allowed: true, retryAfterMs: 0 };
    },
  };
  const { url, server } = await serve((_, response) => response.end(), { rateLimiter });
  server.on('connection', (socket) => Object.defineProperty(socket, 'remoteAddress', { value: remoteAddress }));
  // What a client says of itself does not count.
  await fetch(url, { headers: { 'x-forwarded-for': '198.51.100.7', forwarded: 'for=198.51.100.7' } });
  expect(callers).toEqual([caller]);
});
