import { readFileSync } from 'node:fs';
import { createSecureServer } from 'node:http2';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { atEnd, cleanUp, later, open } from './http-server.ts';

afterEach(cleanUp);

const cert = readFileSync(new URL('./fixtures/localhost.cert.pem', import.meta.url), 'utf8');
const key = readFileSync(new URL('./fixtures/localhost.key.pem', import.meta.url), 'utf8');

it('one connection carries many requests where the server offers HTTP/2', async () => {
  const server = createSecureServer({ cert, key, allowHTTP1: true }, async (request, response) => {
    const body = (await request.toArray()).join('');
    if (request.url === '/never') return;
    await later(20);
    response.setHeader('x-version', request.httpVersion);
    response.end(`${request.method}${body}`);
  });
  let connections = 0;
  server.on('secureConnection', () => connections++);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(() => server.close());
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  const http = open({ tls: { ca: cert } });
  const responses = await Promise.all(Array.from({ length: 50 }, () => http.get(url)));
  expect(new Set(responses.map((response) => response.headers.get('x-version')))).toEqual(new Set(['2.0']));
  expect(await responses[0]?.text()).toBe('GET');
  expect(connections).toBe(1);
  expect(http.stats()).toMatchObject({ connections: 1 });

  // An abort ends one stream and leaves the others alone.
  const controller = new AbortController();
  const never = http.get(`${url}/never`, { signal: controller.signal });
  const other = http.get(url);
  await later(10);
  controller.abort('gone');
  await expect(never).rejects.toBe('gone');
  expect(await (await other).text()).toBe('GET');

  // What must not be sent twice goes alone.
  const posts = await Promise.all([1, 2, 3].map((n) => http.post(url, { json: n })));
  expect(await Promise.all(posts.map((response) => response.text()))).toEqual(['POST1', 'POST2', 'POST3']);
  await http.close();
  expect(http.stats()).toMatchObject({ connections: 0, inFlight: 0 });
});

it('a second request beside one that is slow goes over a connection of its own', async () => {
  let asked = 0;
  const server = createSecureServer({ cert, key }, (request, response) => {
    // Only the first one is never answered.
    if (request.url === '/first' && asked++ === 0) return;
    response.end('ok');
  });
  let connections = 0;
  server.on('secureConnection', () => connections++);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(() => server.close());
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  const http = open({ tls: { ca: cert }, hedge: { delayMs: 20 } });
  await (await http.get(url)).text();
  expect(await (await http.get(`${url}/first`)).text()).toBe('ok');
  expect(http.stats()).toMatchObject({ hedges: 1, hedgesWon: 1 });
  expect(connections).toBe(2);
});

it('HTTP/1.1 over TLS is spoken with a server that offers no more, and with http2: false', async () => {
  const server = createServer({ cert, key }, (request, response) =>
    setTimeout(() => response.end(request.httpVersion), 10),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(() => server.close());
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  const http = open({ tls: { ca: cert }, maxConnections: 5 });
  const texts = await Promise.all(Array.from({ length: 20 }, async () => (await http.get(url)).text()));
  expect(new Set(texts)).toEqual(new Set(['1.1']));
  expect(http.stats().connections).toBe(5);
  await expect(open().get(url)).rejects.toMatchObject({
    code: 'ERR_NETWORK',
    cause: { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' },
  });
  const plain = open({ tls: { ca: cert }, http2: false });
  expect(await (await plain.get(url)).text()).toBe('1.1');
});
