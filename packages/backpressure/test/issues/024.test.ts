import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { ConcurrencyLimiter } from '@x/backpressure';
import { requestSignal, withAdmission } from '@x/backpressure/http';
import { RedisRateLimiter } from '@x/backpressure/redis';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';
import { afterTest, openRaw, serve, until, watchUncaught } from '../admission-server.ts';

const uncaught = watchUncaught();
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

// An async `onError` that rejected was an unhandled rejection, which ends the process.

test('one who is told of a failure may reject', async () => {
  const told: unknown[] = [];
  const onError = async (error: unknown): Promise<void> => {
    told.push(error);
    throw new Error('the log is down');
  };
  const failure = new Error('of the handler');
  const { url } = await serve(() => Promise.reject(failure), { onError });
  expect((await fetch(url)).status).toBe(500);
  const away = new Error('away');
  const client = { status: 'ready', call: () => Promise.reject(away) };
  const rate = new RedisRateLimiter({ client, limit: 1, intervalMs: 1_000, onError });
  expect(await rate.consume('a')).toMatchObject({ decidedBy: 'local' });
  await rate.close();
  await turn();
  expect(told).toEqual([failure, away]);
  expect(uncaught).toEqual([]);
});

// While a probe was on its way, callers who were denied were told to come back after a millisecond.

test('the wait that is told while a probe is on its way is until it is answered at the latest', async () => {
  const clock = new ManualClock();
  const client = { status: 'ready', call: () => new Promise(() => {}) };
  const rate = new RedisRateLimiter({
    client,
    limit: 1,
    intervalMs: 1_000,
    onUnavailable: 'deny',
    commandTimeoutMs: 250,
    retryAfterMs: 1_000,
    clock,
  });
  const first = rate.consume('a');
  await clock.advance(250);
  const waits = [(await first).retryAfterMs];
  for (let step = 0; step < 6; step++) {
    await clock.advance(200);
    await turn();
    waits.push((await rate.consume('a')).retryAfterMs);
  }
  expect(waits).toEqual([1_000, 800, 600, 400, 200, 250, 50]);
  await rate.close();
});

// A client that had gone before its request came to the gate took a place in the queue until its turn, and paid for a question.

test('who has gone before the gate is neither counted nor queued', async () => {
  const limiter = new ConcurrencyLimiter({ limit: 1 });
  const permit = limiter.tryAcquire();
  let asked = 0;
  const rateLimiter = {
    consume: async () => {
      asked++;
      return { allowed: true, retryAfterMs: 0 };
    },
  };
  let served = 0;
  const gates = [{ limiter }, { limiter, rateLimiter }, { exempt: () => true }].map((options) =>
    withAdmission(() => void served++, options),
  );
  let passed = 0;
  // As with middleware that asks who it is.
  const server = createServer(async (request, response) => {
    await once(request.socket, 'close');
    await turn();
    for (const gate of gates) gate(request, response);
    passed++;
  }).listen(0, '127.0.0.1');
  afterTest(() => void server.close());
  await once(server, 'listening');
  const { socket } = await openRaw((server.address() as AddressInfo).port);
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n', () => socket.destroy());
  await until(() => passed === 1);
  expect({ asked, served, queued: limiter.stats().queued }).toEqual({ asked: 0, served: 0, queued: 0 });
  permit?.release();
});

// Node tells a pipelined answer nothing of a connection that ends before its turn: whoever streamed to it waited for ever, and one
// connection could hold all permits for `abandonedTimeoutMs`, again and again.

test('a connection that ends takes along what is streamed to it, also before its turn', async () => {
  const limiter = new ConcurrencyLimiter({ limit: 5 });
  const told: unknown[] = [];
  let begun = 0;
  let closes = 0;
  const { port } = await serve(
    async (request, response) => {
      begun++;
      // Of one that is destroyed before its turn Node 24 says it, and 20 does not.
      if (request.url !== '/destroyed') response.on('close', () => closes++);
      if (request.url === '/first') return new Promise((resolve) => response.once('close', resolve));
      if (request.url === '/signal') requestSignal(request, response);
      if (request.url === '/destroyed') response.destroy();
      else await pipeline(Readable.from([Buffer.alloc(200_000), Buffer.alloc(200_000)]), response);
    },
    { limiter, onError: (error) => told.push(error) },
  );
  const { socket } = await openRaw(port);
  const paths = ['/first', '/streamed', '/signal', '/destroyed'];
  socket.write(paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`).join(''));
  await until(() => begun === 4);
  socket.destroy();
  await limiter.onIdle();
  await turn();
  // Nobody is told twice.
  expect(closes).toBe(3);
  expect(told).toMatchObject([{ code: 'ERR_STREAM_PREMATURE_CLOSE' }, { code: 'ERR_STREAM_PREMATURE_CLOSE' }]);
  expect(limiter.stats()).toMatchObject({ admitted: 4, completed: 4 });
});

// An error is looked at where its client has gone: its properties may be getters that throw.

test('what a handler rejects with when its client has gone may be anything', async () => {
  const limiter = new ConcurrencyLimiter({ limit: 1 });
  const told: unknown[] = [];
  const odd = [
    null,
    undefined,
    'text',
    Object.defineProperty(new Error('odd'), 'name', {
      get() {
        throw new Error('of the getter');
      },
    }),
  ];
  for (const error of odd) {
    const { url } = await serve(
      async (request, response) => {
        const signal = requestSignal(request, response);
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
        throw error;
      },
      { limiter, onError: (given) => told.push(given) },
    );
    const client = new AbortController();
    const call = fetch(url, { signal: client.signal }).catch(() => {});
    await until(() => limiter.stats().inFlight === 1);
    client.abort();
    await call;
    await limiter.onIdle();
    await turn();
  }
  expect(told).toEqual(odd);
  expect(uncaught).toEqual([]);
});
