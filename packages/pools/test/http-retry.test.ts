import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HttpPoolOptions, HttpRequestOptions } from '@x/pools/http';
import { ManualClock } from '@x/testkit';
import { afterEach, describe, expect, it } from 'vitest';
import { cleanUp, later, open, serve } from './http-server.ts';

afterEach(cleanUp);

/** A server that gives each of its first requests one of the answers, and `ok` to all others. */
async function failing(...answers: (number | ((request: IncomingMessage, response: ServerResponse) => void))[]) {
  const seen: string[] = [];
  const server = await serve((request, response) => {
    request.resume();
    seen.push(`${request.method} ${request.url}`);
    const answer = answers.shift() ?? 200;
    if (typeof answer === 'number') response.writeHead(answer).end(answer === 200 ? 'ok' : 'not now');
    else answer(request, response);
  });
  return { ...server, seen };
}
const reset = (request: IncomingMessage) => request.socket.destroy();
const never = () => {};
const soon: HttpPoolOptions = { retry: { baseDelayMs: 1 } };

describe('retries', () => {
  it('are off by default', async () => {
    const { url, seen } = await failing(503, reset);
    const http = open();
    expect((await http.get(url)).status).toBe(503);
    await expect(open().get(url)).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    expect(seen).toHaveLength(2);
    expect(http.stats().retries).toBe(0);
  });

  it('are for the statuses that may pass, and give the last answer when it is enough', async () => {
    for (const status of [408, 429, 502, 503, 504]) {
      const { url, seen, sockets } = await failing(status, status);
      const http = open(soon);
      expect(await (await http.get(url)).text()).toBe('ok');
      expect(seen).toHaveLength(3);
      expect(http.stats()).toMatchObject({ retries: 2, requests: 1, responses: { '2xx': 1 }, failures: {} });
      // The answers that nobody reads are let in: one connection has carried everything, and it is free.
      if (status !== 408) expect(sockets.size).toBe(1);
      await expect.poll(() => http.stats().inFlight).toBe(0);
    }
    const down = await failing(503, 503, 503, 503);
    const response = await open(soon).get(down.url);
    expect([response.status, await response.text(), down.seen.length]).toEqual([503, 'not now', 3]);
    for (const status of [400, 404, 500, 501]) {
      const { url, seen } = await failing(status);
      expect((await open(soon).get(url)).status).toBe(status);
      expect(seen).toHaveLength(1);
    }
    const { url, seen } = await failing(500, 503);
    expect((await open({ retry: { baseDelayMs: 1, statuses: [500] } }).get(url)).status).toBe(503);
    expect(seen).toHaveLength(2);
  });

  it('are for idempotent methods only, and for bodies that can be sent again', async () => {
    async function* once() {
      yield 'x';
    }
    const attempts = async (options: HttpRequestOptions) => {
      const { url, seen } = await failing(503);
      await (await open(soon).request(url, options)).text();
      return seen.length;
    };
    for (const method of ['GET', 'HEAD', 'OPTIONS', 'DELETE']) expect(await attempts({ method }), method).toBe(2);
    expect(await attempts({ method: 'put', json: { a: 1 } })).toBe(2);
    for (const method of ['POST', 'PATCH']) expect(await attempts({ method, body: 'x' }), method).toBe(1);
    expect(await attempts({ method: 'PUT', body: once() })).toBe(1);
  });

  it('are for a network that fails, not for a name that does not exist, a policy or an answer that makes no sense', async () => {
    const { url, seen } = await failing(reset, reset);
    const http = open(soon);
    expect(await (await http.get(url)).text()).toBe('ok');
    expect(seen).toHaveLength(3);
    await expect(http.get('http://127.0.0.1:1/')).rejects.toMatchObject({ code: 'ERR_UNREACHABLE' });
    expect(http.stats().retries).toBe(4);
    const stalled = await failing(never);
    expect(await (await open({ ...soon, headersTimeoutMs: 500 }).get(stalled.url)).text()).toBe('ok');
    const other = open({
      ...soon,
      egress: { allowOrigins: ['http://nobody.invalid'] },
      lookup: (hostname, _options, callback) =>
        callback(Object.assign(new Error(`${hostname}?`), { code: 'ENOTFOUND' }), []),
    });
    await expect(other.get('http://nobody.invalid/')).rejects.toMatchObject({ code: 'ERR_UNREACHABLE' });
    await expect(other.get(url)).rejects.toMatchObject({ code: 'ERR_EGRESS_DENIED' });
    expect(other.stats().retries).toBe(0);
    const nonsense = await failing((request) => request.socket.end('SSH-2.0-OpenSSH\r\n'));
    await expect(http.get(nonsense.url)).rejects.toMatchObject({ code: 'ERR_NETWORK' });
    expect(nonsense.seen).toHaveLength(1);
  });

  it('repeat the request that failed, which may be one that was redirected to', async () => {
    const { url, seen } = await failing((_request, response) => response.writeHead(303, { location: '/b' }).end(), 503);
    const response = await open(soon).post(`${url}/a`, { body: 'x' });
    expect([response.status, response.url]).toEqual([200, `${url}/b`]);
    expect(seen).toEqual(['POST /a', 'GET /b', 'GET /b']);
  });
});

describe('between two attempts', () => {
  /** A pool on a clock that stands still; beside the wait there is one timer, that of the whole call. */
  function onManualClock(options: HttpPoolOptions = {}) {
    const clock = new ManualClock();
    const http = open({ clock, random: () => 0.5, timeoutMs: 60_000, retry: { maxRetries: 5 }, ...options });
    return { clock, http, waits: () => expect.poll(() => clock.pendingTimers).toBe(2) };
  }

  it('the wait is random up to a bound that doubles and has an end', async () => {
    const { url, seen } = await failing(503, 503, 503, 503, 503);
    const { clock, http, waits } = onManualClock({ retry: { maxRetries: 5, baseDelayMs: 100, maxDelayMs: 300 } });
    const call = http.get(url);
    for (const [index, ms] of [50, 100, 150, 150, 150].entries()) {
      await waits();
      await clock.advance(ms - 1);
      expect(clock.pendingTimers).toBe(2);
      expect([seen.length, http.stats().retries]).toEqual([index + 1, index]);
      await clock.advance(1);
      await expect.poll(() => seen.length).toBe(index + 2);
    }
    expect((await call).status).toBe(200);
    expect(clock.pendingTimers).toBe(0);
  });

  it('Retry-After is obeyed, in seconds or as a date', async () => {
    const { url, seen } = await failing(
      (_request, response) => response.writeHead(503, { 'retry-after': '7' }).end(),
      (_request, response) =>
        response.writeHead(429, { 'retry-after': new Date(Date.UTC(2026, 0, 1, 0, 0, 20)).toUTCString() }).end(),
    );
    const { clock, http, waits } = onManualClock({ retry: { baseDelayMs: 0 } });
    const call = http.get(url);
    for (const [index, ms] of [7_000, 13_000].entries()) {
      await waits();
      await clock.advance(ms - 1);
      expect(clock.pendingTimers).toBe(2);
      await clock.advance(1);
      await expect.poll(() => seen.length).toBe(index + 2);
    }
    expect((await call).status).toBe(200);
  });

  it('a wait that would outlast the call is not begun: the answer is given as it is', async () => {
    const { url, seen } = await failing(
      (_request, response) => response.writeHead(503, { 'retry-after': '60' }).end('later'),
      (_request, response) => response.writeHead(503, { 'retry-after': '99999999999' }).end('later'),
    );
    const { clock, http } = onManualClock();
    const response = await http.get(url);
    expect([response.status, response.headers.get('retry-after'), await response.text()]).toEqual([503, '60', 'later']);
    expect((await http.get(url, { timeoutMs: Number.POSITIVE_INFINITY })).status).toBe(503);
    expect([seen.length, http.stats().retries, clock.pendingTimers]).toEqual([2, 0, 0]);
  });

  it('an abort, the end of the time and the close of the pool are seen at once', async () => {
    const { url, seen } = await failing(503, 503, 503);
    const { clock, http, waits } = onManualClock({
      timeoutMs: 100,
      random: () => 0.9,
      retry: { baseDelayMs: 100, maxRetries: 9 },
    });
    const controller = new AbortController();
    const aborted = expect(http.get(url, { signal: controller.signal })).rejects.toBe('gone');
    await waits();
    controller.abort('gone');
    await aborted;
    expect(clock.pendingTimers).toBe(0);

    const late = expect(http.get(url)).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
    await waits();
    clock.jump(100);
    await clock.advance(0);
    // Both timers were due; the wait, which came first, was followed by an attempt that has no time left.
    await late;

    const closed = expect(http.get(url)).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
    await waits();
    await http.close();
    await closed;
    expect(clock.pendingTimers).toBe(0);
    expect(http.stats()).toMatchObject({
      inFlight: 0,
      connections: 0,
      failures: { ERR_TIMEOUT: 1, ERR_POOL_CLOSED: 1 },
    });
    expect(seen.length).toBeGreaterThanOrEqual(3);
  });
});

it('an abort is never repeated, whatever its reason looks like', async () => {
  const { url, seen } = await failing(never);
  const controller = new AbortController();
  const reason = Object.assign(new Error('gone'), { code: 'ERR_CONNECTION_LOST' });
  const call = expect(open(soon).get(url, { signal: controller.signal })).rejects.toBe(reason);
  await expect.poll(() => seen.length).toBe(1);
  controller.abort(reason);
  await call;
  await later(20);
  expect(seen).toHaveLength(1);
});

describe('the retry budget', () => {
  it('leaves a server that is down little more than the load of its callers, and others alone', async () => {
    let down = true;
    let attempts = 0;
    const { url } = await serve((_request, response) => {
      attempts++;
      response.writeHead(down ? 503 : 200).end();
    });
    const flaky = await failing(503);
    const http = open({ retry: { baseDelayMs: 0, maxRetries: 3 } });
    for (let n = 0; n < 100; n++) expect((await http.get(url)).status).toBe(503);
    // Ten in reserve, and one for every ten requests.
    expect(attempts).toBeGreaterThanOrEqual(117);
    expect(attempts).toBeLessThanOrEqual(120);
    expect(await (await http.get(flaky.url)).text()).toBe('ok');
    down = false;
    for (let n = 0; n < 200; n++) await http.get(url);
    down = true;
    attempts = 0;
    // The reserve is full again, and no fuller than at first.
    for (let n = 0; n < 100; n++) await http.get(url);
    expect(attempts).toBeGreaterThanOrEqual(117);
    expect(attempts).toBeLessThanOrEqual(120);
  });

  it('of zero is the reserve alone', async () => {
    const { url, sockets } = await serve((_request, response) => response.writeHead(503).end());
    const http = open({ retry: { baseDelayMs: 0, budgetRatio: 0 } });
    for (let n = 0; n < 20; n++) await http.get(url);
    expect(http.stats().retries).toBe(10);
    expect(sockets.size).toBe(1);
  });
});

it('a policy for retries that means nothing is refused', () => {
  expect(() => open({ retry: { maxRetries: -1 } })).toThrow(
    '@x/pools: HttpPool.retry.maxRetries must be an integer >= 0, got -1',
  );
  expect(() => open({ retry: { budgetRatio: 2 } })).toThrow(
    '@x/pools: HttpPool.retry.budgetRatio must be a number >= 0 and <= 1, got 2',
  );
  expect(() => open({ retry: { statuses: [200] } })).toThrow(RangeError);
  expect(() => open({ retry: { baseDelayMs: Number.NaN } })).toThrow(RangeError);
});

it('many callers that retry at once leave no connection behind', async () => {
  let n = 0;
  const { url, sockets } = await serve((request, response) => {
    const turn = n++ % 3;
    if (turn === 0) reset(request);
    else if (turn === 1) response.writeHead(503).end('x'.repeat(200_000));
    else response.end('ok');
  });
  const http = open({ maxConnections: 5, retry: { baseDelayMs: 2, maxRetries: 4, budgetRatio: 1 } });
  const outcomes = await Promise.allSettled(Array.from({ length: 60 }, async () => (await http.get(url)).text()));
  expect(outcomes.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThan(30);
  await expect.poll(() => http.stats()).toMatchObject({ inFlight: 0, queued: 0 });
  await later(20);
  const { connections, idle } = http.stats();
  expect([idle, sockets.size]).toEqual([connections, connections]);
});

it('the budgets of a thousand origins are remembered, and the one without a change for longest is forgotten first', async () => {
  const busy = Object.assign(new Error('try again'), { code: 'EAI_AGAIN' });
  const http = open({
    dnsCacheMs: 0,
    random: () => 0,
    retry: { maxRetries: 1, budgetRatio: 0 },
    lookup: (_name, _options, callback) => callback(busy, []),
  });
  const retriesOf = async (name: string): Promise<number> => {
    const before = http.stats().retries;
    const code = await http.get(`http://${name}.test/`).catch((error) => error.code);
    if (code !== 'ERR_UNREACHABLE') throw new Error(`unexpected: ${code}`);
    return http.stats().retries - before;
  };
  for (let n = 0; n < 10; n++) expect(await retriesOf('first')).toBe(1);
  expect(await retriesOf('first')).toBe(0);
  for (let n = 0; n < 1_000; n++) await retriesOf(`other-${n}`);
  expect(await retriesOf('first')).toBe(1);
});
