import { once } from 'node:events';
import { type IncomingMessage, request, type ServerResponse } from 'node:http';
import { ConcurrencyLimiter } from '@x/backpressure';
import type { AdmissionOptions, RequestHandler } from '@x/backpressure/http';
import { ManualClock } from '@x/testkit';
import { Pool } from 'undici';
import { describe, expect, test } from 'vitest';
import { afterTest, held, openRaw, serve, until } from './admission-server.ts';

describe('admission', () => {
  test('answers 503 with Retry-After and a JSON-RPC error when the server is full', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1, maxQueue: 0, random: () => 0.5, clock: new ManualClock() });
    const { handler, responses } = held();
    const { url } = await serve(handler, { limiter });
    const running = fetch(url);
    await until(() => responses.length === 1);
    const refused = await fetch(url, { method: 'POST', body: '{}' });
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('2');
    expect(refused.headers.get('cache-control')).toBe('no-store');
    expect(refused.headers.get('content-type')).toBe('application/json');
    expect(await refused.json()).toEqual({
      jsonrpc: '2.0',
      id: null,
      error: {
        code: 503,
        message: 'The server is overloaded. Retry in 2 s.',
        data: { error: 'server_overloaded', reason: 'queue_full', retryAfterMs: 1_250 },
      },
    });
    responses[0]?.end('done');
    expect(await (await running).text()).toBe('done');
    await until(() => limiter.stats().inFlight === 0);
  });

  test('holds the permit until the response is finished, not until the handler returns', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1 });
    const { handler, responses } = held();
    const { url } = await serve(handler, { limiter });
    const first = fetch(url);
    await until(() => responses.length === 1);
    const second = fetch(url);
    await until(() => limiter.stats().queued === 1);
    expect(responses.length).toBe(1);
    responses[0]?.end('first');
    await until(() => responses.length === 2);
    expect(limiter.stats().inFlight).toBe(1);
    responses[1]?.end('second');
    expect(await (await first).text()).toBe('first');
    expect(await (await second).text()).toBe('second');
    await limiter.onIdle();
    expect(limiter.stats()).toMatchObject({ admitted: 2, completed: 2 });
  });

  test('a client that goes away frees its permit, or its place in the queue', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1 });
    const { handler, responses } = held();
    const { url } = await serve(handler, { limiter });
    const running = new AbortController();
    const queued = new AbortController();
    const calls = [fetch(url, { signal: running.signal }).catch(() => {})];
    await until(() => responses.length === 1);
    calls.push(fetch(url, { method: 'POST', body: 'x', signal: queued.signal }).catch(() => {}));
    await until(() => limiter.stats().queued === 1);
    queued.abort();
    await until(() => limiter.stats().queued === 0);
    expect(limiter.stats().rejected).toMatchObject({ queue_full: 0, queue_timeout: 0 });
    running.abort();
    await until(() => limiter.stats().inFlight === 0);
    await Promise.all(calls);
    expect(responses.length).toBe(1);
  });

  test('one who waited too long is answered, with the connection still of use', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1, queueTimeoutMs: 20 });
    const permit = limiter.tryAcquire();
    const { port } = await serve((_, response) => response.end('served'), { limiter });
    const { socket, text } = await openRaw(port);
    const post = 'POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}';
    socket.write(post);
    await until(() => text().includes('"reason":"queue_timeout"'));
    permit?.release();
    socket.write(post);
    await until(() => text().includes('served'));
  });

  test('health and metrics paths are let through by default, others where asked', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1, maxQueue: 0 });
    limiter.tryAcquire();
    const handler: RequestHandler = (_, response) => response.end('ok');
    const byDefault = await serve(handler, { limiter });
    const status = async (url: string) => (await fetch(url)).status;
    expect(await status(`${byDefault.url}/healthz`)).toBe(200);
    expect(await status(`${byDefault.url}/metrics?x=1`)).toBe(200);
    expect(await status(`${byDefault.url}/mcp`)).toBe(503);
    // Work cannot get past the gate under the name of a check.
    const by = async (method: string, path: string) => (await fetch(byDefault.url + path, { method })).status;
    expect(await by('HEAD', '/health')).toBe(200);
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) expect(await by(method, '/health')).toBe(503);
    for (const path of [
      '/health/',
      '/healthz2',
      '/Health',
      '/x/../livez2',
      '/health%3f',
      '/mcp?/health',
      '/mcp#/health',
    ]) {
      expect(await by('GET', path), path).toBe(503);
    }
    const given = await serve(handler, { limiter, exempt: (request) => request.url === '/vip' });
    expect(await status(`${given.url}/vip`)).toBe(200);
    expect(await status(`${given.url}/healthz`)).toBe(503);
  });

  test('over its rate a caller is answered 429', async () => {
    const keys: string[] = [];
    const rateLimiter = {
      consume: async (key: string) => {
        keys.push(key);
        return keys.length > 1 ? { allowed: false, retryAfterMs: 2_500 } : { allowed: true, retryAfterMs: 0 };
      },
    };
    const { url } = await serve((_, response) => response.end('ok'), { rateLimiter, random: () => 0 });
    expect((await fetch(url)).status).toBe(200);
    const refused = await fetch(url, { method: 'POST', body: '{}' });
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).toBe('3');
    expect(await refused.json()).toMatchObject({
      error: { code: 429, data: { error: 'rate_limited', reason: 'rate_limited', retryAfterMs: 2_500 } },
    });
    expect(keys).toEqual(['127.0.0.1', '127.0.0.1']);
  });

  test('the waits after 429 differ, and none is less than what the rate limiter says', async () => {
    const rateLimiter = { consume: async () => ({ allowed: false, retryAfterMs: 1_500 }) };
    let random = 0;
    const { url } = await serve((_, response) => response.end('ok'), { rateLimiter, random: () => random });
    const told = async (chance: number) => {
      random = chance;
      const response = await fetch(url);
      const { error } = (await response.json()) as { error: { data: { retryAfterMs: number } } };
      return [response.headers.get('retry-after'), error.data.retryAfterMs];
    };
    expect(await told(0)).toEqual(['2', 1_500]);
    expect(await told(0.8)).toEqual(['3', 2_100]);
  });

  test('where the rate could not be asked for and nothing may pass it is 503, not the caller’s fault', async () => {
    const rateLimiter = { consume: async () => ({ allowed: false, retryAfterMs: 700, decidedBy: 'deny' }) };
    const { url } = await serve((_, response) => response.end('ok'), { rateLimiter, random: () => 0 });
    const refused = await fetch(url);
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(await refused.json()).toMatchObject({
      error: {
        code: 503,
        message: 'The server cannot tell now how often this caller has asked. Retry in 1 s.',
        data: { error: 'server_unavailable', reason: 'rate_limiter_unavailable', retryAfterMs: 700 },
      },
    });
  });

  test('one who has gone while the rate was asked for is not served', async () => {
    let answer = (_: { allowed: boolean; retryAfterMs: number }): void => {};
    const rateLimiter = {
      consume: () =>
        new Promise<{ allowed: boolean; retryAfterMs: number }>((resolve) => {
          answer = resolve;
        }),
    };
    const { handler, responses } = held();
    let left = 0;
    const { url } = await serve(handler, {
      rateLimiter,
      key: (request) => {
        request.socket.once('close', () => left++);
        return 'k';
      },
    });
    const controller = new AbortController();
    const call = fetch(url, { signal: controller.signal }).catch(() => {});
    const asked = answer;
    await until(() => answer !== asked);
    controller.abort();
    await call;
    await until(() => left === 1);
    answer({ allowed: true, retryAfterMs: 0 });
    await new Promise((resolve) => setImmediate(resolve));
    expect(responses).toEqual([]);
  });

  test('what the shedder says goes first, by priority', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1 });
    const shedder = {
      check: ({ priority }: { priority: string }) =>
        priority === 'critical' ? undefined : { reason: 'shed', retryAfterMs: 100 },
    };
    const { url } = await serve((_, response) => response.end('ok'), {
      limiter,
      shedder,
      priority: (request) => (request.url === '/pay' ? 'critical' : 'default'),
    });
    expect((await fetch(url)).status).toBe(503);
    expect((await fetch(`${url}/pay`)).status).toBe(200);
    await limiter.onIdle();
    expect(limiter.stats().admitted).toBe(1);
  });

  test('priority, caller and patience reach the queue', async () => {
    const waits: object[] = [];
    const limiter = {
      tryAcquire: () => undefined,
      acquire: async ({ signal: _, ...wait }: { signal: AbortSignal }) => {
        waits.push(wait);
        return { release: () => {} };
      },
    };
    const options: AdmissionOptions = { limiter, priority: () => 'sheddable', key: () => 'caller' };
    const handler: RequestHandler = (_, response) => response.end('ok');
    await fetch((await serve(handler, options)).url);
    await fetch((await serve(handler, { ...options, deadlineMs: () => 500 })).url);
    await fetch((await serve(handler, { limiter })).url);
    expect(waits).toEqual([
      { priority: 'sheddable', key: 'caller' },
      { priority: 'sheddable', key: 'caller', deadlineMs: 500 },
      { priority: 'default', key: '127.0.0.1' },
    ]);
  });

  test('Retry-After is at least a second: 0 would ask for a retry at once', async () => {
    const { url } = await serve(() => {}, { shedder: { check: () => ({ reason: 'shed', retryAfterMs: 0 }) } });
    expect((await fetch(url)).headers.get('retry-after')).toBe('1');
  });

  test('a draining server closes the connection with its answer', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1 });
    await limiter.close();
    const { url } = await serve((_, response) => response.end('ok'), { limiter });
    const refused = await fetch(url);
    expect(refused.status).toBe(503);
    expect(refused.headers.get('connection')).toBe('close');
    expect(await refused.json()).toMatchObject({
      error: { message: expect.stringContaining('The server is shutting down.'), data: { reason: 'draining' } },
    });
  });

  test('an Express-like app, a function with properties, can be wrapped as it is', async () => {
    const app = Object.assign((_: IncomingMessage, response: ServerResponse) => response.end('app'), { use: () => {} });
    const { url } = await serve(app, { limiter: new ConcurrencyLimiter({ limit: 1 }) });
    expect(await (await fetch(url)).text()).toBe('app');
  });
});

describe('the body of a refused request', () => {
  async function full() {
    const limiter = new ConcurrencyLimiter({ limit: 1, maxQueue: 0 });
    limiter.tryAcquire();
    return serve((_, response) => response.end('ok'), { limiter });
  }

  test('is thrown away, and the connection serves the next request', async () => {
    const { port, connections } = await full();
    const { socket, text } = await openRaw(port);
    const refusals = () => text().split('server_overloaded').length - 1;
    socket.write('POST /mcp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n');
    // The answer does not wait for the rest.
    await until(() => refusals() === 1);
    socket.write('0\r\n\r\nPOST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd');
    await until(() => refusals() === 2);
    socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    await until(() => text().endsWith('ok\r\n0\r\n\r\n') || text().endsWith('ok'));
    expect(connections.length).toBe(1);
  });

  test('is thrown away for a client that keeps its one connection', async () => {
    const { url, connections } = await full();
    const client = new Pool(url, { connections: 1 });
    afterTest(() => void client.destroy());
    for (let n = 0; n < 5; n++) {
      const { statusCode, body } = await client.request({ path: '/mcp', method: 'POST', body: 'x'.repeat(100_000) });
      expect(statusCode).toBe(503);
      expect(await body.json()).toMatchObject({ error: { data: { error: 'server_overloaded' } } });
    }
    const { statusCode } = await client.request({ path: '/healthz', method: 'GET' });
    expect(statusCode).toBe(200);
    expect(connections.length).toBe(1);
  });

  test('is not read for ever: a large upload gets its answer, then the connection ends', async () => {
    const { port, connections } = await full();
    const upload = request({ port, host: '127.0.0.1', method: 'POST', headers: { 'Content-Length': 1e9 } });
    upload.on('error', () => {});
    const chunk = Buffer.alloc(64 * 1024);
    const pump = setInterval(() => {
      if (!upload.destroyed && upload.writableLength < chunk.length * 4) {
        upload.write(chunk);
      }
    }, 1);
    afterTest(() => clearInterval(pump));
    afterTest(() => upload.destroy());
    const [response] = (await once(upload, 'response')) as [IncomingMessage];
    expect(response.statusCode).toBe(503);
    expect(response.headers.connection).toBe('close');
    let body = '';
    for await (const part of response) body += part;
    expect(JSON.parse(body)).toMatchObject({ error: { code: 503 } });
    await until(() => upload.destroyed || upload.socket === null || upload.socket.destroyed);
    await until(() => connections[0]?.destroyed === true);
  });

  test.each([
    ['of a given length', 'Content-Length: 100000000000'],
    ['in chunks', 'Transfer-Encoding: chunked'],
  ])('%s is not read for ever: a client that does not listen is cut off', async (_, header) => {
    const { port, connections } = await full();
    const { socket } = await openRaw(port);
    const closed = new Promise((resolve) => socket.once('close', resolve));
    const chunk = Buffer.from(`10000\r\n${'x'.repeat(0x10000)}\r\n`);
    const feed = (): void => {
      while (socket.write(chunk));
    };
    socket.on('drain', feed);
    socket.write(`POST /mcp HTTP/1.1\r\nHost: x\r\n${header}\r\n\r\n`);
    feed();
    await closed;
    expect(connections[0]?.bytesRead).toBeLessThan(4e6);
  });

  test('that never comes does not keep the connection open', async () => {
    const { port } = await full();
    const { socket, text } = await openRaw(port);
    const closed = once(socket, 'close');
    socket.write('POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc');
    await until(() => text().includes('server_overloaded'));
    await closed;
  });
});

describe('a client that says how long it waits', () => {
  test('is refused at once when it could not be answered in time', async () => {
    const clock = new ManualClock();
    const limiter = new ConcurrencyLimiter({ limit: 1, clock });
    // Work takes 200 ms.
    const permit = limiter.tryAcquire();
    await clock.advance(200);
    permit?.release();
    const { handler, responses } = held();
    const deadlineMs = (request: IncomingMessage) => Number(request.headers['x-timeout-ms']) || undefined;
    const { url } = await serve(handler, { limiter, deadlineMs });
    const running = fetch(url);
    await until(() => responses.length === 1);
    const hasty = await fetch(url, { headers: { 'x-timeout-ms': '100' } });
    expect(hasty.status).toBe(503);
    expect(await hasty.json()).toMatchObject({ error: { data: { reason: 'deadline' } } });
    const patient = fetch(url, { headers: { 'x-timeout-ms': '1000' } });
    await until(() => limiter.stats().queued === 1);
    responses[0]?.end();
    await until(() => responses.length === 2);
    responses[1]?.end();
    expect((await patient).status).toBe(200);
    await running;
  });
});
