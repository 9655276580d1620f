import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { ConcurrencyLimiter } from '@x/backpressure';
import { type RequestHandler, requestSignal } from '@x/backpressure/http';
import { expect, test } from 'vitest';
import { openRaw, serve, until } from './admission-server.ts';

/** Work that goes on until its signal says otherwise. */
function work(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
}

test('a client that goes away aborts running work, which is nobody’s failure', async () => {
  const limiter = new ConcurrencyLimiter({ limit: 1 });
  const reported: unknown[] = [];
  const ended: unknown[] = [];
  const handler: RequestHandler = async (request, response) => {
    try {
      await work(requestSignal(request, response));
    } catch (error) {
      ended.push(error);
      throw error;
    }
  };
  const { url } = await serve(handler, { limiter, onError: (error) => reported.push(error) });
  const client = new AbortController();
  const call = fetch(url, { signal: client.signal }).catch(() => {});
  await until(() => limiter.stats().inFlight === 1);
  client.abort();
  await call;
  await limiter.onIdle();
  await until(() => ended.length === 1);
  expect(ended).toMatchObject([{ name: 'AbortError' }]);
  await new Promise((resolve) => setImmediate(resolve));
  expect(reported).toEqual([]);
});

test('a client that leaves the queue is reported to nobody, and refused by nobody', async () => {
  const limiter = new ConcurrencyLimiter({ limit: 1 });
  const permit = limiter.tryAcquire();
  const reported: unknown[] = [];
  const responses: ServerResponse[] = [];
  const { server, port } = await serve(() => {}, { limiter, onError: (error) => reported.push(error) });
  server.on('request', (_request, response) => responses.push(response));
  const { socket } = await openRaw(port);
  // The second has no socket of its own yet.
  socket.write('GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n');
  await until(() => limiter.stats().queued === 2);
  socket.destroy();
  await until(() => limiter.stats().queued === 0);
  await new Promise((resolve) => setImmediate(resolve));
  expect(reported).toEqual([]);
  expect(responses.map((response) => response.headersSent)).toEqual([false, false]);
  permit?.release();
});

test('what a handler throws besides, when its client has gone, is reported', async () => {
  const reported: unknown[] = [];
  const handler: RequestHandler = async (request, response) => {
    await work(requestSignal(request, response)).catch(() => {});
    throw new Error('rolled back badly');
  };
  let inWork = 0;
  const { url } = await serve(
    (request, response) => {
      inWork++;
      return handler(request, response);
    },
    { onError: (error) => reported.push(error) },
  );
  const client = new AbortController();
  const call = fetch(url, { signal: client.signal }).catch(() => {});
  await until(() => inWork === 1);
  client.abort();
  await call;
  await until(() => reported.length === 1);
  expect(reported).toMatchObject([{ message: 'rolled back badly' }]);
});

test('an answer that was given aborts nothing, also when the connection ends after it', async () => {
  const signals: AbortSignal[] = [];
  const late: AbortSignal[] = [];
  const { port } = await serve((request, response) => {
    signals.push(requestSignal(request, response), requestSignal(request, response));
    response.once('close', () => late.push(requestSignal(request, response)));
    response.end('ok');
  }, {});
  const { socket, text } = await openRaw(port);
  socket.write('GET /1 HTTP/1.1\r\nHost: x\r\n\r\n');
  await until(() => text().includes('ok') && late.length === 1);
  socket.destroy();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(signals.map((signal) => signal.aborted)).toEqual([false, false]);
  expect(new Set([...signals, ...late]).size).toBe(1);
});

test('asked for first when all is over, it says which way', async () => {
  const over: { response: ServerResponse; signal: () => AbortSignal }[] = [];
  const { port } = await serve((request, response) => {
    over.push({ response, signal: () => requestSignal(request, response) });
    if (request.url === '/answered') response.end('ok');
  }, {});
  const { socket, text } = await openRaw(port);
  socket.write('GET /answered HTTP/1.1\r\nHost: x\r\n\r\n');
  await until(() => text().includes('ok'));
  socket.write('GET /left HTTP/1.1\r\nHost: x\r\n\r\n');
  await until(() => over.length === 2);
  socket.destroy();
  await until(() => over[1]?.response.closed === true);
  expect(over.map(({ signal }) => signal().aborted)).toEqual([false, true]);
});

test('a connection that ends aborts all that was pipelined on it, whether it had its turn or not', async () => {
  const limiter = new ConcurrencyLimiter({ limit: 2 });
  const signals: AbortSignal[] = [];
  const { port } = await serve((request, response) => void signals.push(requestSignal(request, response)), { limiter });
  const { socket } = await openRaw(port);
  socket.write(
    ['/1', '/2', '/3'].map((path) => `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}`).join(''),
  );
  await until(() => signals.length === 2 && limiter.stats().queued === 1);
  socket.destroy();
  await limiter.onIdle();
  await until(() => signals.every((signal) => signal.aborted));
  // The one that waited was never begun.
  expect(signals.length).toBe(2);
  expect(limiter.stats()).toMatchObject({ inFlight: 0, queued: 0 });
});

test('many requests that are pipelined are no leak of listeners', async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on('warning', onWarning);
  const limiter = new ConcurrencyLimiter({ limit: 20 });
  const answer: (() => void)[] = [];
  const sockets: Socket[] = [];
  const { port } = await serve(
    (request, response) => {
      sockets.push(request.socket);
      answer.push(() => response.end(request.url));
    },
    { limiter },
  );
  const { socket, text } = await openRaw(port);
  socket.write(Array.from({ length: 40 }, (_, n) => `GET /${n} HTTP/1.1\r\nHost: x\r\n\r\n`).join(''));
  await until(() => limiter.stats().inFlight === 20 && limiter.stats().queued === 20);
  const listeners = sockets[0]?.listenerCount('close') ?? 0;
  while (limiter.stats().completed < 40) {
    for (const end of answer.splice(0)) end();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => text().includes('/39'));
  expect(listeners).toBeGreaterThan(30);
  expect(sockets[0]?.listenerCount('close')).toBeLessThan(5);
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
});

test('a handler that fails while it streams takes what still runs for that answer with it', async () => {
  let signal: AbortSignal | undefined;
  const { url } = await serve(async (request, response) => {
    signal = requestSignal(request, response);
    response.write('part');
    throw new Error('broken');
  }, {});
  await expect(fetch(url).then((response) => response.text())).rejects.toThrow();
  await until(() => signal?.aborted === true);
});

test('what a client left says nothing of capacity; what was answered does', async () => {
  const outcomes: string[] = [];
  const permit = { release: () => outcomes.push('release'), ignore: () => outcomes.push('ignore') };
  const limiter = { tryAcquire: () => permit, acquire: () => Promise.resolve(permit) };
  let inWork = 0;
  const { port } = await serve(
    (request, response) => {
      inWork++;
      if (request.url === '/answered') response.end('ok');
    },
    { limiter },
  );
  const { socket } = await openRaw(port);
  socket.write('GET /answered HTTP/1.1\r\nHost: x\r\n\r\nGET /left HTTP/1.1\r\nHost: x\r\n\r\n');
  await until(() => inWork === 2 && outcomes.length === 1);
  socket.destroy();
  await until(() => outcomes.length === 2);
  expect(outcomes).toEqual(['release', 'ignore']);
});

test('one that was pipelined and never had its turn is over as soon as its connection is', async () => {
  const answers: ((verdict: { allowed: boolean; retryAfterMs: number }) => void)[] = [];
  const rateLimiter = {
    consume: () => new Promise<{ allowed: boolean; retryAfterMs: number }>((resolve) => answers.push(resolve)),
  };
  const served: (string | undefined)[] = [];
  const requests: { signal: () => AbortSignal; gone: () => boolean }[] = [];
  const { server, port } = await serve((request) => void served.push(request.url), { rateLimiter });
  server.on('request', (request, response) =>
    requests.push({ signal: () => requestSignal(request, response), gone: () => request.socket.destroyed }),
  );
  const { socket } = await openRaw(port);
  socket.write('GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n');
  await until(() => answers.length === 2);
  answers[0]?.({ allowed: true, retryAfterMs: 0 });
  await until(() => served.length === 1);
  socket.destroy();
  await until(() => requests[1]?.gone() === true);
  expect(requests[1]?.signal().aborted).toBe(true);
  answers[1]?.({ allowed: true, retryAfterMs: 0 });
  await new Promise((resolve) => setImmediate(resolve));
  expect(served).toEqual(['/1']);
});
