import type { HttpRequestOptions } from '@x/pools/http';
import { ManualClock } from '@x/testkit';
import { afterEach, expect, it } from 'vitest';
import { cleanUp, open, serve } from './http-server.ts';

afterEach(cleanUp);

const requests: string[] = [];
const echo = () =>
  serve(async (request, response) => {
    const body = (await request.toArray().catch(() => [])).join('');
    requests.push(`${request.method} ${request.url}`);
    response.end(JSON.stringify({ body, headers: request.headers }));
  });

it('that HTTP does not allow is refused, says why, and is not sent', async () => {
  const { url } = await echo();
  const http = open();
  requests.length = 0;
  const wrong: Record<string, HttpRequestOptions> = {
    'a line end in a header': { headers: { 'x-a': 'a\r\nx-evil: 1' } },
    'a line end in the name of a header': { headers: { 'x\r\nx-evil': '1' } },
    'a zero byte': { headers: { 'x-a': 'a\0b' } },
    'what is not latin1': { headers: { 'x-a': '→' } },
    'a method that is more': { method: 'GET / HTTP/1.1\r\nx-evil: 1\r\n\r\nGET' },
    'a tunnel': { method: 'connect' },
    'a wrong length': { method: 'POST', body: 'abc', headers: { 'content-length': '10' } },
    'a short length': { method: 'POST', body: 'abc', headers: { 'content-length': '1' } },
    'a coding of its own': { method: 'POST', body: 'abc', headers: { 'transfer-encoding': 'chunked' } },
    'an upgrade': { headers: { connection: 'upgrade', upgrade: 'websocket' } },
    'no JSON': { method: 'POST', json: () => 1 },
    'too much for JSON': { method: 'POST', json: { n: 1n } },
  };
  for (const [what, options] of Object.entries(wrong)) {
    const error = await http.request(`${url}/?token=secret`, options).catch((reason: unknown) => reason);
    expect(error, what).toMatchObject({ code: 'ERR_INVALID_REQUEST' });
    expect(String((error as Error).stack), what).not.toContain('secret');
  }
  expect(requests).toEqual([]);
  await expect.poll(() => http.stats()).toMatchObject({ inFlight: 0, queued: 0 });
});

it('may have headers in any form and of any name', async () => {
  const { url } = await echo();
  const http = open();
  const headers = async (given: unknown) =>
    ((await (await http.get(url, { headers: given } as HttpRequestOptions)).json()) as { headers: unknown }).headers;
  expect(await headers(JSON.parse('{"constructor":"a","X-B":null,"X-C":["1","2"]}'))).toMatchObject({
    constructor: 'a',
    'x-c': '1, 2',
  });
  expect(await headers(new Map([['x-a', '1']]))).toMatchObject({ 'x-a': '1' });
  expect(
    await headers([
      ['x-a', '1'],
      ['X-A', '2'],
    ]),
  ).toMatchObject({ 'x-a': '1, 2' });
});

it('goes to where its URL pointed when it was made, though its owner changes it', async () => {
  const { url } = await echo();
  const http = open({ maxConnections: 1 });
  requests.length = 0;
  const target = new URL(`${url}/meant`);
  const first = http.get(url);
  const second = http.get(target);
  target.pathname = '/changed';
  await Promise.all([first, second]);
  expect(requests).toEqual(['GET /', 'GET /meant']);
});

it('whose body fails on its way is an error that keeps the cause, and costs one connection', async () => {
  const { url, sockets } = await echo();
  const http = open();
  const broken = new Error('the body broke');
  async function* body() {
    yield 'a';
    throw broken;
  }
  await expect(http.post(url, { body: body() })).rejects.toMatchObject({ code: 'ERR_NETWORK', cause: broken });
  await expect.poll(() => sockets.size).toBe(0);
  expect(http.stats()).toMatchObject({ inFlight: 0, connections: 0 });
});

it('without a time-out: a body that nobody reads is given up, one that is being read is not', async () => {
  const { url, sockets } = await serve((request, response) => {
    response.write(Buffer.alloc(200_000));
    if (request.url !== '/read') response.end();
  });
  const clock = new ManualClock();
  const http = open({ clock, timeoutMs: Number.POSITIVE_INFINITY });
  await (await http.get(url)).bytes();
  expect(clock.pendingTimers).toBe(0);
  const dropped = await http.get(url);
  const read = (await http.get(`${url}/read`)).stream().getReader();
  await clock.advance(29_999);
  expect(http.stats().inFlight).toBe(2);
  await clock.advance(1);
  await expect.poll(() => sockets.size).toBe(1);
  expect(http.stats().inFlight).toBe(1);
  await expect(dropped.bytes()).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
  expect((await read.read()).done).toBe(false);
  await read.cancel();
  await expect.poll(() => http.stats()).toMatchObject({ inFlight: 0, connections: 0 });
  expect(clock.pendingTimers).toBe(0);
});
