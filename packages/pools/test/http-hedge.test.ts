import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HttpPoolOptions } from '@x/pools/http';
import { ManualClock } from '@x/testkit';
import { afterEach, describe, expect, it } from 'vitest';
import { cleanUp, open, serve } from './http-server.ts';

afterEach(cleanUp);

/** A server whose responses are kept until the test answers them. */
async function holding() {
  const held: { request: IncomingMessage; response: ServerResponse }[] = [];
  const server = await serve((request, response) => {
    request.resume();
    held.push({ request, response });
  });
  return { ...server, held, asked: (n: number) => expect.poll(() => held.length).toBe(n) };
}

function onManualClock(options: HttpPoolOptions = {}) {
  const clock = new ManualClock();
  return { clock, http: open({ clock, timeoutMs: 60_000, hedge: { delayMs: 50 }, ...options }) };
}

describe('a hedged request', () => {
  it('is sent once more when no answer has begun, and the first answer counts', async () => {
    const { url, held, asked, sockets } = await holding();
    const { clock, http } = onManualClock();
    const call = http.get(url);
    await asked(1);
    await clock.advance(49);
    expect(held).toHaveLength(1);
    await clock.advance(1);
    await asked(2);
    held[1]?.response.end('second');
    expect(await (await call).text()).toBe('second');
    // The other is broken off, its connection with it.
    await expect.poll(() => held[0]?.response.destroyed).toBe(true);
    await expect
      .poll(() => http.stats())
      .toMatchObject({ inFlight: 0, connections: 1, idle: 1, hedges: 1, hedgesWon: 1 });
    await expect.poll(() => sockets.size).toBe(1);
    expect(http.stats()).toMatchObject({ requests: 1, responses: { '2xx': 1 }, failures: {}, retries: 0 });
    expect(clock.pendingTimers).toBe(0);
  });

  it('whose first answer comes after all is the one that counts, and the second is broken off', async () => {
    const { url, held, asked } = await holding();
    const { clock, http } = onManualClock();
    const call = http.get(url);
    await asked(1);
    await clock.advance(50);
    await asked(2);
    held[0]?.response.end('first');
    expect(await (await call).text()).toBe('first');
    await expect.poll(() => held[1]?.response.destroyed).toBe(true);
    await expect.poll(() => http.stats()).toMatchObject({ inFlight: 0, hedges: 1, hedgesWon: 0 });
  });

  it('that is answered in time is sent once', async () => {
    const { url, held, asked } = await holding();
    const { clock, http } = onManualClock();
    const call = http.get(url);
    await asked(1);
    held[0]?.response.writeHead(200).write('begun');
    const response = await call;
    await clock.advance(1_000);
    held[0]?.response.end();
    expect(await response.text()).toBe('begun');
    expect(held).toHaveLength(1);
    expect(http.stats().hedges).toBe(0);
  });

  it('is a GET, HEAD or OPTIONS, and none that says no', async () => {
    const { url, held, asked } = await holding();
    const { clock, http } = onManualClock();
    const calls = [
      ...['POST', 'PUT', 'PATCH', 'DELETE'].map((method) => http.request(url, { method })),
      http.get(url, { hedge: false }),
    ];
    await asked(5);
    await clock.advance(1_000);
    for (const { response } of held) response.end();
    await Promise.all(calls);
    expect([held.length, http.stats().hedges]).toEqual([5, 0]);
  });

  it('prefers a good answer to a quick refusal, and takes the refusal when nothing better comes', async () => {
    const { url, held, asked } = await holding();
    const { clock, http } = onManualClock();
    for (const last of [200, 503]) {
      held.length = 0;
      const call = http.get(url);
      await asked(1);
      await clock.advance(50);
      await asked(2);
      held[1]?.response.writeHead(503).end('unwell');
      await expect.poll(() => held[1]?.response.writableFinished).toBe(true);
      held[0]?.response.writeHead(last).end();
      expect((await call).status).toBe(last);
      await expect.poll(() => http.stats().inFlight).toBe(0);
    }
    // One that fails leaves the other to answer; when all have failed, the last failure is told.
    held.length = 0;
    const call = http.get(url);
    await asked(1);
    await clock.advance(50);
    await asked(2);
    held[0]?.request.socket.destroy();
    held[1]?.response.end('ok');
    expect(await (await call).text()).toBe('ok');
    const lost = expect(http.post(url)).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    await asked(3);
    held[2]?.request.socket.destroy();
    await lost;
  });

  it('ends in all its parts when its caller leaves or its time is over', async () => {
    const { url, held, asked, sockets } = await holding();
    const { clock, http } = onManualClock({ timeoutMs: 100 });
    const controller = new AbortController();
    const aborted = expect(http.get(url, { signal: controller.signal })).rejects.toBe('gone');
    await asked(1);
    await clock.advance(50);
    await asked(2);
    controller.abort('gone');
    await aborted;
    await expect.poll(() => sockets.size).toBe(0);
    const late = expect(http.get(url)).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
    await asked(3);
    await clock.advance(50);
    await asked(4);
    await clock.advance(50);
    await late;
    await expect.poll(() => sockets.size).toBe(0);
    expect(http.stats()).toMatchObject({ inFlight: 0, failures: { ERR_TIMEOUT: 1 } });
    expect([held.length, clock.pendingTimers]).toEqual([4, 0]);
  });

  it('adds no load where requests wait, or where the budget is used up', async () => {
    const { url, held, asked } = await holding();
    const full = onManualClock({ maxConnections: 2 });
    const calls = [full.http.get(url), full.http.get(url), full.http.get(url)];
    await asked(2);
    await full.clock.advance(50);
    expect(full.http.stats()).toMatchObject({ hedges: 0, queued: 1 });
    held[0]?.response.end();
    await asked(3);
    for (const { response } of held) response.end();
    await Promise.all(calls);

    held.length = 0;
    const { clock, http } = onManualClock({ hedge: { delayMs: 50, budgetRatio: 0 } });
    for (let n = 0; n < 15; n++) {
      const call = http.get(url);
      await expect.poll(() => held.length).toBeGreaterThan(0);
      await clock.advance(50);
      // Ten in reserve, and nothing earned.
      await asked(n < 10 ? 2 : 1);
      for (const { response } of held.splice(0)) response.end();
      await call;
    }
    expect(http.stats().hedges).toBe(10);
  });

  it('waits, unless told otherwise, for what 95 of 100 answers took at most', async () => {
    const { url, held, asked } = await holding();
    const { clock, http } = onManualClock({ hedge: {} });
    for (let n = 0; n < 20; n++) {
      const call = http.get(url);
      await asked(1);
      await clock.advance(n < 18 ? 10 : 40);
      held.splice(0)[0]?.response.end();
      await (await call).text();
    }
    expect(http.stats().hedges).toBe(0);
    const call = http.get(url);
    await asked(1);
    await clock.advance(39);
    expect(held).toHaveLength(1);
    await clock.advance(1);
    await asked(2);
    for (const { response } of held) response.end();
    await call;
  });
});

it('an origin that answers in no time is not hedged for being a millisecond late', async () => {
  const { url, held, asked } = await holding();
  const { clock, http } = onManualClock({ hedge: {} });
  for (let n = 0; n < 30; n++) {
    const call = http.get(url);
    await asked(1);
    if (n >= 20) await clock.advance(9);
    expect(http.stats().hedges).toBe(0);
    held.splice(0)[0]?.response.end();
    await (await call).text();
  }
});

it('a policy for hedges that means nothing is refused', () => {
  expect(() => open({ hedge: { delayMs: -1 } })).toThrow('@x/pools: HttpPool.hedge.delayMs must be a number >= 0');
  expect(() => open({ hedge: { maxHedges: 0 } })).toThrow(RangeError);
  expect(() => open({ hedge: { budgetRatio: 2 } })).toThrow(RangeError);
});

it('what a thousand origins took is remembered, and that of the one known for longest is forgotten first', async () => {
  const { url } = await serve((request, response) => {
    setTimeout(() => response.end(), request.url === '/slow' ? 150 : 0);
  });
  const { port } = new URL(url);
  const http = open({
    hedge: {},
    lookup: (_name, _options, callback) => callback(null, [{ address: '127.0.0.1', family: 4 }]),
  });
  const get = async (name: string, path = '/') => (await http.get(`http://${name}.test:${port}${path}`)).text();
  for (let n = 0; n < 20; n++) await get('first');
  await get('first', '/slow');
  expect(http.stats().hedges).toBe(1);
  for (let n = 0; n < 50; n++) await Promise.all(Array.from({ length: 20 }, (_, i) => get(`other-${n}-${i}`)));
  await get('first', '/slow');
  expect(http.stats().hedges).toBe(1);
});
