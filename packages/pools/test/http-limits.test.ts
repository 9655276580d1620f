import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, it } from 'vitest';
import { cleanUp, later, open, serve } from './http-server.ts';

afterEach(cleanUp);

describe('the connections of an HttpPool', () => {
  it('are never more than maxConnections, over all origins together', async () => {
    const handler = (_request: unknown, response: { end(text: string): void }) =>
      setTimeout(() => response.end('ok'), 5);
    const servers = await Promise.all([serve(handler), serve(handler), serve(handler)]);
    const http = open({ maxConnections: 4 });
    let most = 0;
    const calls = Array.from({ length: 60 }, async (_, index) => {
      const response = await http.get(`${servers[index % 3]!.url}/`);
      most = Math.max(
        most,
        servers.reduce((sum, { sockets }) => sum + sockets.size, 0),
      );
      expect(http.stats().connections).toBeLessThanOrEqual(4);
      return response.text();
    });
    expect(new Set(await Promise.all(calls))).toEqual(new Set(['ok']));
    expect(http.stats()).toMatchObject({
      inFlight: 0,
      queued: 0,
      requests: 60,
      responses: { '2xx': 60 },
      failures: {},
    });
  });

  it('to one origin reach the maximum when there is work for them', async () => {
    const { url, peak } = await serve((_request, response) => setTimeout(() => response.end('ok'), 20));
    const http = open({ maxConnections: 8 });
    await Promise.all(Array.from({ length: 40 }, async () => (await http.get(url)).text()));
    expect(peak()).toBe(8);
  });

  it('are not all taken by one origin that does not answer', async () => {
    const { url: black } = await serve(() => {});
    const { url } = await serve((_request, response) => response.end('ok'));
    const http = open({ maxConnections: 40, timeoutMs: 5_000 });
    const controller = new AbortController();
    const stuck = Array.from({ length: 200 }, () => http.get(black, { signal: controller.signal }).catch(() => {}));
    expect(await (await http.get(url)).text()).toBe('ok');
    controller.abort();
    await Promise.all(stuck);
    await expect.poll(() => http.stats()).toMatchObject({ inFlight: 0, queued: 0 });
  });

  it('are not all taken by several origins that do not answer', async () => {
    const black = await Promise.all(Array.from({ length: 4 }, () => serve(() => {})));
    const { url } = await serve((_request, response) => response.end('ok'));
    const http = open({ maxConnections: 100, timeoutMs: 20_000 });
    const controller = new AbortController();
    const { signal } = controller;
    const stuck = black.flatMap((server) =>
      Array.from({ length: 150 }, () => http.get(server.url, { signal }).catch(() => {})),
    );
    expect(await (await http.get(url)).text()).toBe('ok');
    controller.abort();
    await Promise.all(stuck);
    await expect.poll(() => http.stats()).toMatchObject({ inFlight: 0, queued: 0 });
  });

  it('may not be waited for by one origin alone: the queue has room for others', async () => {
    const { url } = await serve(() => {});
    const other = await serve((_request, response) => response.end('ok'));
    const http = open({ maxConnections: 1, maxQueued: 32, timeoutMs: 20_000 });
    const controller = new AbortController();
    const { signal } = controller;
    const codes: unknown[] = [];
    const stuck = Array.from({ length: 50 }, () => http.get(url, { signal }).catch((error) => codes.push(error.code)));
    await expect.poll(() => codes.length).toBeGreaterThan(0);
    expect(new Set(codes)).toEqual(new Set(['ERR_OVERLOADED']));
    const waits = http.get(other.url);
    expect(http.stats().queued).toBeLessThanOrEqual(32);
    controller.abort();
    await Promise.all(stuck);
    expect(await (await waits).text()).toBe('ok');
  });

  it('without work are closed after keepAliveMs', async () => {
    const { url, sockets } = await serve((_request, response) => response.end('ok'));
    const http = open({ keepAliveMs: 50 });
    await (await http.get(url)).text();
    await expect.poll(() => sockets.size, { timeout: 5_000 }).toBe(0);
    expect(http.stats()).toMatchObject({ connections: 0, idle: 0 });
  });

  it('are kept, but at most maxKeepAliveConnections without work', async () => {
    const held: (() => void)[] = [];
    const { url, sockets, peak } = await serve((_request, response) => {
      held.push(() => response.end('ok'));
      // All ten are there at once, however slow the machine is.
      if (peak() === 10) for (const answer of held.splice(0)) answer();
    });
    const http = open({ maxConnections: 10, maxKeepAliveConnections: 2 });
    await Promise.all(Array.from({ length: 10 }, async () => (await http.get(url)).text()));
    expect(peak()).toBe(10);
    await expect.poll(() => sockets.size).toBe(2);
    expect(http.stats()).toMatchObject({ connections: 2, idle: 2 });
    for (let i = 0; i < 5; i++) await (await http.get(url)).text();
    expect(sockets.size).toBe(2);
  });

  it('without work give way to another origin', async () => {
    const handler = (_request: unknown, response: { end(text: string): void }) => response.end('ok');
    const [one, two] = await Promise.all([serve(handler), serve(handler)]);
    const http = open({ maxConnections: 1 });
    for (const { url } of [one, two, one, two]) expect(await (await http.get(url)).text()).toBe('ok');
    expect(http.stats().connections).toBe(1);
  });

  it('of an origin stay below maxConnectionsPerOrigin', async () => {
    const { url, peak } = await serve((_request, response) => setTimeout(() => response.end('ok'), 5));
    const http = open({ maxConnectionsPerOrigin: 3 });
    await Promise.all(Array.from({ length: 20 }, async () => (await http.get(url)).text()));
    expect(peak()).toBe(3);
  });

  it('are freed by a small body that nobody reads, and by a large one when its time is over', async () => {
    const { url } = await serve((request, response) =>
      response.end(Buffer.alloc(request.url === '/small' ? 100 : 2_000_000)),
    );
    const http = open({ maxConnections: 1, timeoutMs: 300 });
    await http.get(`${url}/small`);
    await http.get(`${url}/large`);
    await expect.poll(() => http.stats().inFlight).toBe(0);
    expect((await http.get(`${url}/small`)).status).toBe(200);
  });

  it('refuses what may not even wait', async () => {
    const { url } = await serve(() => {});
    const http = open({ maxConnections: 1, maxQueued: 1, timeoutMs: 200 });
    const calls = await Promise.allSettled([http.get(url), http.get(url), http.get(url)]);
    expect(calls.map((call) => call.status === 'rejected' && call.reason.code)).toEqual([
      'ERR_TIMEOUT',
      'ERR_TIMEOUT',
      'ERR_OVERLOADED',
    ]);
  });
});

describe('closing an HttpPool', () => {
  it('refuses new requests and waiting ones at once, and lets running ones end', async () => {
    const { url, sockets } = await serve((_request, response) => setTimeout(() => response.end('ok'), 100));
    const http = open({ maxConnections: 1 });
    const running = http.get(url);
    const waiting = http.get(url);
    await later(30);
    const closing = http.close();
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
    await expect(http.get(url)).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
    expect(await (await running).text()).toBe('ok');
    await closing;
    await expect.poll(() => sockets.size).toBe(0);
  });

  it('breaks off what has not ended in time', async () => {
    const { url } = await serve(() => {});
    const http = open();
    const running = http.get(url);
    const outcome = expect(running).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
    await later(20);
    await http.close({ timeoutMs: 20 });
    await outcome;
  });
});

it('a connection that somebody waits for is not closed for being one too many without work', async () => {
  const opened = new Set<unknown>();
  const { url } = await serve((request, response) => {
    opened.add(request.socket);
    response.end('ok');
  });
  const http = open({ maxConnections: 1, maxKeepAliveConnections: 0 });
  const answers = await Promise.all(Array.from({ length: 5 }, async () => (await http.get(url)).text()));
  expect(answers).toEqual(['ok', 'ok', 'ok', 'ok', 'ok']);
  expect(opened.size).toBe(1);
  await expect.poll(() => http.stats()).toMatchObject({ connections: 0, idle: 0, inFlight: 0 });
});

it('hosts that strangers name are not remembered when nothing is left to do for them', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const unknown = Object.assign(new Error('no such host'), { code: 'ENOTFOUND' });
  const http = open({ dnsCacheMs: 0, lookup: (_name, _options, callback) => callback(unknown, []) });
  const heapAfter = async (batch: number): Promise<number> => {
    for (let n = 0; n < 40; n++) {
      const names = Array.from({ length: 50 }, (_, i) => `http://host-${batch}-${n}-${i}.test/`);
      const codes = await Promise.all(names.map((name) => http.get(name).catch((error) => error.code)));
      if (codes.some((code) => code !== 'ERR_UNREACHABLE')) throw new Error(`unexpected: ${codes}`);
    }
    await later(20);
    collect();
    return process.memoryUsage().heapUsed;
  };
  await heapAfter(0);
  const before = await heapAfter(1);
  const batches = 6;
  let after = before;
  for (let batch = 2; batch < 2 + batches; batch++) after = await heapAfter(batch);
  // Each remembered host would be half a kilobyte at least: a megabyte in every batch. What the engine itself takes and gives back, most of a
  // megabyte from one moment to the next, does not add up.
  expect((after - before) / batches).toBeLessThan(600_000);
  expect(http.stats()).toMatchObject({ connections: 0, idle: 0, inFlight: 0, queued: 0 });
});
