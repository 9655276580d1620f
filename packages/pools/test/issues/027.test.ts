// headersTimeoutMs and bodyTimeoutMs were undici's own, which count in seconds: short ones came up to a second late. (Here they are long
// by a clock that is moved by hand, so that undici's own never come.)
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { ManualClock } from '@x/testkit';
import { afterEach, expect, it } from 'vitest';
import { atEnd, cleanUp, later, open, serve } from '../http-server.ts';

afterEach(cleanUp);

const stopped = (url: string) => ({ code: 'ERR_TIMEOUT', message: `${url} stopped answering` });

/** What a promise has come to, after what has been sent has had time to arrive. */
async function state(promise: Promise<unknown>): Promise<string> {
  await later(50);
  return Promise.race([
    promise.then(
      () => 'done',
      (error) => String(error.code),
    ),
    'pending',
  ]);
}

it('the headers have until then from when the request was sent', async () => {
  const asked: (() => void)[] = [];
  const { url } = await serve((_request, response) => asked.push(() => response.end('ok')));
  const clock = new ManualClock();
  const http = open({ clock, headersTimeoutMs: 50_000, timeoutMs: 1_000_000 });
  for (const late of [false, true]) {
    const got = http.get(url).then((response) => response.text());
    got.catch(() => {});
    await expect.poll(() => asked.length).toBe(late ? 2 : 1);
    await clock.advance(49_999);
    expect(await state(got)).toBe('pending');
    if (late) {
      await clock.advance(1);
      await expect(got).rejects.toMatchObject(stopped(url));
    } else {
      asked[0]?.();
      expect(await got).toBe('ok');
    }
  }
});

it('a request that is still being sent is not waited for', async () => {
  const { url } = await serve((request, response) => request.resume().on('end', () => response.end('ok')));
  const clock = new ManualClock();
  const http = open({ clock, headersTimeoutMs: 50_000, timeoutMs: 1_000_000 });
  const steps: (() => void)[] = [];
  async function* body() {
    for (let n = 0; n < 3; n++) {
      yield 'piece';
      await new Promise<void>((resolve) => steps.push(resolve));
    }
  }
  const got = http.post(url, { body: body() }).then((response) => response.text());
  for (let n = 0; n < 3; n++) {
    await expect.poll(() => steps.length).toBe(n + 1);
    await clock.advance(60_000);
    steps[n]?.();
  }
  expect(await got).toBe('ok');
});

it('a body has until then from piece to piece, while somebody takes them', async () => {
  const pieces: ((piece: string) => void)[] = [];
  const { url } = await serve((_request, response) => {
    response.write('x');
    pieces.push((piece) => (piece === '' ? response.end() : response.write(piece)));
  });
  const clock = new ManualClock();
  const http = open({ clock, bodyTimeoutMs: 50_000, timeoutMs: 1_000_000 });
  const reading = (await http.get(url)).text();
  reading.catch(() => {});
  expect(await state(reading)).toBe('pending');
  for (let n = 0; n < 3; n++) {
    await clock.advance(40_000);
    pieces[0]?.('x');
    expect(await state(reading)).toBe('pending');
  }
  await clock.advance(49_999);
  expect(await state(reading)).toBe('pending');
  await clock.advance(1);
  await expect(reading).rejects.toMatchObject(stopped(url));

  // Nobody reads, so that the sender has to wait; that is not its fault.
  const response = await http.get(url);
  pieces[1]?.('y'.repeat(200_000));
  await later(100);
  await clock.advance(500_000);
  const rest = response.text();
  pieces[1]?.('');
  expect((await rest).length).toBe(200_001);
});

it('over HTTP/2 it ends the one stream', async () => {
  const cert = readFileSync(new URL('../fixtures/localhost.cert.pem', import.meta.url), 'utf8');
  const key = readFileSync(new URL('../fixtures/localhost.key.pem', import.meta.url), 'utf8');
  const asked: string[] = [];
  let answer = (): void => {};
  const server = createSecureServer({ cert, key }, (request, response) => {
    asked.push(request.url);
    if (request.url === '/ok') answer = () => response.end('ok');
    else if (request.url === '/body') response.write('begun');
  }).listen(0, 'localhost');
  await once(server, 'listening');
  atEnd(() => server.close());
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  const clock = new ManualClock();
  const http = open({
    clock,
    tls: { ca: cert },
    headersTimeoutMs: 100_000,
    bodyTimeoutMs: 20_000,
    timeoutMs: 1_000_000,
  });
  const ok = http.get(`${url}/ok`);
  const begun = (await http.get(`${url}/body`)).text();
  begun.catch(() => {});
  expect(await state(begun)).toBe('pending');
  await clock.advance(20_000);
  await expect(begun).rejects.toMatchObject(stopped(url));
  const silent = http.get(`${url}/silent`);
  silent.catch(() => {});
  await expect.poll(() => asked).toContain('/silent');
  answer();
  expect(await (await ok).text()).toBe('ok');
  await clock.advance(99_999);
  expect(await state(silent)).toBe('pending');
  // Where nothing else is answered either, the connection would be given up with it.
  const again = http.get(`${url}/ok`);
  await expect.poll(() => asked.filter((path) => path === '/ok')).toHaveLength(2);
  answer();
  expect(await (await again).text()).toBe('ok');
  await clock.advance(1);
  await expect(silent).rejects.toMatchObject(stopped(url));
  expect(http.stats()).toMatchObject({ connections: 1, inFlight: 0 });
});

it('a body that is still being inflated is not waited for', async () => {
  const words = Array.from({ length: 60_000 }, () => Math.random().toString(36)).join(' ');
  const { url } = await serve((_request, response) => {
    response.setHeader('content-encoding', 'gzip').end(gzipSync(words));
  });
  const clock = new ManualClock();
  const http = open({ clock, bodyTimeoutMs: 50_000, timeoutMs: 1e9 });
  const reader = (await http.get(url)).stream().getReader();
  const pieces: Uint8Array[] = [];
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    pieces.push(piece.value);
    // All of it is here when the connection has nothing under way.
    if (http.stats().inFlight === 0) await clock.advance(500_000);
    else await later(1);
  }
  expect(Buffer.concat(pieces).toString()).toBe(words);
  await clock.advance(2e9);
  expect(clock.pendingTimers).toBe(0);
});

it('what is over is not watched any more', async () => {
  const clock = new ManualClock();
  const { StallWatch } = (await import(new URL('../../src/http/stall-watch.ts', import.meta.url).href)) as {
    StallWatch: new (
      clock: ManualClock,
      headersMs: number,
      bodyMs: number,
    ) => Record<'sent' | 'heard' | 'hold' | 'leave', (exchange: object) => void>;
  };
  const watch = new StallWatch(clock, 100, 10);
  const told: string[] = [];
  const exchange = (name: string) => ({ stallsAt: Number.POSITIVE_INFINITY, stalled: () => told.push(name) });
  const [one, two, three, four] = ['one', 'two', 'three', 'four'].map(exchange) as [object, object, object, object];
  for (const each of [one, two, three, four]) watch.sent(each);
  await clock.advance(50);
  watch.leave(one);
  watch.heard(two);
  watch.hold(three);
  await clock.advance(10);
  expect(told).toEqual(['two']);
  await clock.advance(40);
  expect(told).toEqual(['two', 'four']);
  await clock.advance(1_000);
  expect(told).toEqual(['two', 'four']);
  watch.heard(three);
  await clock.advance(10);
  expect(told).toEqual(['two', 'four', 'three']);
});
