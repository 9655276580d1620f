import type { IncomingMessage, ServerResponse } from 'node:http';
import { ConcurrencyLimiter } from '@x/backpressure';
import { type AdmissionOptions, type RequestHandler, withAdmission } from '@x/backpressure/http';
import { describe, expect, test } from 'vitest';
import { openRaw, serve as serveAt, until, watchUncaught } from './admission-server.ts';

// Vitest fails a run in which an exception or a rejection was left to nobody; here it is said in the test that is at fault.
const uncaught = watchUncaught();

async function serve(handler: RequestHandler, options: AdmissionOptions) {
  const reported: unknown[] = [];
  const { url, port } = await serveAt(handler, { onError: (error) => reported.push(error), ...options });
  return { url, port, reported };
}

const boom = new Error('secret: redis://user:password@host is down');
function fails(): never {
  throw boom;
}
const ok: RequestHandler = (_request, response) => response.end('ok');
const internalError = { jsonrpc: '2.0', id: null, error: { code: -32_603, message: 'Internal error' } };
const fullLimiter = (error: unknown) => ({ tryAcquire: () => undefined, acquire: () => Promise.reject(error) });

describe('one part of the gate fails: 500 without a word of why', () => {
  const parts: [string, AdmissionOptions][] = [
    ['rateLimiter.consume rejects', { rateLimiter: { consume: () => Promise.reject(boom) } }],
    ['rateLimiter.consume throws', { rateLimiter: { consume: fails } }],
    ['key, for the rate', { rateLimiter: { consume: async () => ({ allowed: true, retryAfterMs: 0 }) }, key: fails }],
    ['key, for the queue', { limiter: fullLimiter(new Error('not asked')), key: fails }],
    ['priority', { priority: fails }],
    ['exempt', { exempt: fails }],
    ['shedder.check', { shedder: { check: fails } }],
    ['limiter.tryAcquire', { limiter: { ...fullLimiter(boom), tryAcquire: fails } }],
    ['limiter.acquire rejects', { limiter: fullLimiter(boom) }],
    ['limiter.acquire throws', { limiter: { tryAcquire: () => undefined, acquire: fails } }],
  ];
  test.each(parts)('%s', async (_part, options) => {
    const { url, reported } = await serve(ok, options);
    const failed = await fetch(url, { method: 'POST', body: '{}' });
    expect(failed.status).toBe(500);
    expect(failed.headers.get('content-type')).toBe('application/json');
    expect(failed.headers.get('cache-control')).toBe('no-store');
    expect(await failed.json()).toEqual(internalError);
    expect(reported).toEqual([boom]);
    expect(uncaught).toEqual([]);
  });

  test('a limiter that rejects with nothing at all', async () => {
    const { url, reported } = await serve(ok, { limiter: fullLimiter(undefined) });
    expect((await fetch(url)).status).toBe(500);
    expect(reported).toEqual([undefined]);
  });

  test('nobody is told by default, and one who is told may throw', async () => {
    const silent = await serve(ok, { priority: fails, onError: undefined });
    expect((await fetch(silent.url)).status).toBe(500);
    const clumsy = await serve(ok, { priority: fails, onError: fails });
    expect((await fetch(clumsy.url)).status).toBe(500);
    expect(uncaught).toEqual([]);
  });

  test('a permit that cannot be given back is reported, and the answer stands', async () => {
    const { url, reported } = await serve(ok, {
      limiter: { ...fullLimiter(boom), tryAcquire: () => ({ release: fails }) },
    });
    expect(await (await fetch(url)).text()).toBe('ok');
    await until(() => reported.length === 1);
    expect(uncaught).toEqual([]);
  });
});

/** What the handler does before it fails, and the status that the client then gets; undefined: its connection ends. */
const before: [string, (response: ServerResponse) => void, number | undefined][] = [
  ['it has answered', () => {}, 500],
  ['headers are sent, which were for another body', (response) => response.setHeader('Content-Encoding', 'gzip'), 500],
  ['its answer has ended', (response) => response.writeHead(200).write('part'), undefined],
];

describe.each([
  [
    'throws',
    (first: (response: ServerResponse) => void): RequestHandler =>
      (_, response) => {
        first(response);
        throw boom;
      },
  ],
  [
    'rejects',
    (first: (response: ServerResponse) => void): RequestHandler =>
      async (_, response) => {
        await new Promise((resolve) => setImmediate(resolve));
        first(response);
        throw boom;
      },
  ],
])('a handler that %s', (_how, handlerOf) => {
  const gates: [string, () => { limiter?: ConcurrencyLimiter; exempt?: () => boolean }, boolean][] = [
    ['at once', () => ({ limiter: new ConcurrencyLimiter({ limit: 1 }) }), false],
    ['after it has waited', () => ({ limiter: new ConcurrencyLimiter({ limit: 1 }) }), true],
    ['without a limiter', () => ({}), false],
    ['where all are let through', () => ({ exempt: () => true }), false],
  ];
  describe.each(gates)('%s', (_gate, optionsOf, waits) => {
    test.each(before)('before %s', async (_when, first, status) => {
      const options = optionsOf();
      const held = waits ? options.limiter?.tryAcquire() : undefined;
      const { url, reported } = await serve(handlerOf(first), options);
      const call = fetch(url, { method: 'POST', body: '{}' })
        .then(
          async (response) => ({ status: response.status, body: await response.text() }),
          () => undefined,
        )
        .catch(() => undefined);
      if (waits) await until(() => options.limiter?.stats().queued === 1);
      held?.release();
      const answer = await call;
      expect(answer?.status).toBe(status);
      if (answer !== undefined) expect(JSON.parse(answer.body)).toEqual(internalError);
      expect(reported).toEqual([boom]);
      await options.limiter?.onIdle();
      expect(uncaught).toEqual([]);
    });
  });

  test('after its answer has ended does not spoil it', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1 });
    const { url, reported } = await serve(
      handlerOf((response) => response.end('x'.repeat(1_000_000))),
      { limiter },
    );
    expect((await (await fetch(url)).text()).length).toBe(1_000_000);
    expect(reported).toEqual([boom]);
    await limiter.onIdle();
  });
});

test('a client that goes away frees the permits of all that it has sent on one connection', async () => {
  const limiter = new ConcurrencyLimiter({ limit: 2 });
  const held: IncomingMessage[] = [];
  const { port } = await serve((request) => void held.push(request), { limiter });
  const { socket } = await openRaw(port);
  socket.write(
    'GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\nGET /3 HTTP/1.1\r\nHost: x\r\n\r\n',
  );
  await until(() => held.length === 2 && limiter.stats().queued === 1);
  socket.destroy();
  await limiter.onIdle();
  expect(held.length).toBe(2);
});

test.each([
  [{ limiter: {} }, 'limiter must be an object with tryAcquire() and acquire(), got [object Object]'],
  [{ limiter: null }, 'limiter must be an object with tryAcquire() and acquire(), got null'],
  [{ rateLimiter: 5 }, 'rateLimiter must be an object with consume(), got 5'],
  [{ shedder: {} }, 'shedder must be an object with check(), got [object Object]'],
  [{ key: null }, 'key must be a function, got null'],
  [{ priority: 'critical' }, "priority must be a function, got 'critical'"],
  [{ exempt: ['/health'] }, 'exempt must be a function, got /health'],
  [{ onError: null }, 'onError must be a function, got null'],
])('wrong options are refused: %j', (options, message) => {
  expect(() => withAdmission(ok, options as AdmissionOptions)).toThrow(`@x/backpressure: ${message}`);
});

test('a pipelined answer that fails when it has begun, before its turn, cuts the connection', async () => {
  const limiter = new ConcurrencyLimiter({ limit: 2 });
  let requests = 0;
  const { port } = await serve(
    (_request, response) => {
      if (++requests === 1) return;
      response.write('the beginning');
      throw new Error('the rest will not come');
    },
    { limiter },
  );
  const { socket, text, closed } = await openRaw(port);
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(2));
  await closed;
  expect(text()).toBe('');
  await limiter.onIdle();
});
