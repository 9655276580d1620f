// headersTimeoutMs and bodyTimeoutMs over HTTP/2 counted while the caller's own body was being written, and while nobody read the answer's.
// (The pool's own clock stands still here: what comes is undici's.)
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { ManualClock } from '@x/testkit';
import { afterEach, expect, it } from 'vitest';
import { atEnd, cleanUp, later, open } from '../http-server.ts';

afterEach(cleanUp);

const cert = readFileSync(new URL('../fixtures/localhost.cert.pem', import.meta.url), 'utf8');
const key = readFileSync(new URL('../fixtures/localhost.key.pem', import.meta.url), 'utf8');

it.each([true, false])('who reads and writes slowly is not timed out (http2: %s)', async (http2) => {
  const server = createSecureServer({ cert, key, allowHTTP1: true }, async (request, response) => {
    if (request.method === 'POST') response.end((await request.toArray()).join(''));
    else response.end('x'.repeat(3_000_000));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(() => server.close());
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  const http = open({ clock: new ManualClock(), tls: { ca: cert }, http2, headersTimeoutMs: 100, bodyTimeoutMs: 100 });
  const response = await http.get(url);
  // Longer than the second in which undici counts over HTTP/1.1.
  await later(1_500);
  expect((await response.text()).length).toBe(3_000_000);
  async function* slowly() {
    for (const piece of ['a', 'b']) {
      yield piece;
      await later(1_500);
    }
  }
  expect(await (await http.post(url, { body: slowly() })).text()).toBe('ab');
});
