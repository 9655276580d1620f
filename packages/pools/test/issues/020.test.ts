import type { AddressInfo } from 'node:net';
import { createServer as createTcpServer, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { atEnd, cleanUp, open, serve } from '../http-server.ts';

afterEach(cleanUp);

async function answering(text: string): Promise<string> {
  const server = createTcpServer((socket: Socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end(text));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

// undici closes the connection only after it has told of the end of the response: who waited was put on it, and lost.
test('a request that waits is not put on a connection that its server does not keep', async () => {
  const closing = await serve((request, response) => {
    request.resume();
    response.setHeader('connection', 'close');
    response.end('ok');
  });
  const old = await answering('HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok');
  const older = await answering('HTTP/1.0 200 OK\r\n\r\nok');
  for (const url of [closing.url, old, older]) {
    const http = open({ maxConnections: 1, timeoutMs: 5_000 });
    const posts = Array.from({ length: 10 }, async () => (await http.post(url, { body: 'once' })).text());
    expect(new Set(await Promise.all(posts))).toEqual(new Set(['ok']));
    expect(http.stats()).toMatchObject({ failures: {}, retries: 0, inFlight: 0 });
  }
});

test('nor on one that carried a HEAD, or a GET with a body, which undici does not use again', async () => {
  const { url } = await serve((request, response) => {
    request.resume();
    response.end('ok');
  });
  for (const odd of [{ method: 'HEAD' }, { method: 'GET', body: 'x' }]) {
    const http = open({ maxConnections: 1, timeoutMs: 5_000 });
    const calls = Array.from({ length: 10 }, async (_, n) =>
      (await http.request(url, n % 2 === 0 ? odd : { method: 'POST', body: 'once' })).text(),
    );
    await Promise.all(calls);
    expect(http.stats()).toMatchObject({ failures: {}, retries: 0, responses: { '2xx': 10 } });
  }
});

test('a Retry-After that is neither seconds nor a date of HTTP says nothing', async () => {
  let header = '';
  const { url } = await serve((_request, response) => {
    response.writeHead(503, { 'retry-after': header });
    response.end();
  });
  const http = open();
  const told = async (value: string) => {
    header = value;
    return ((await http.getJson(url).catch((error: unknown) => error)) as { retryAfterMs?: number }).retryAfterMs;
  };
  for (const garbage of ['', 'soon', '-1', '1.5', '1e3', '0x10', '1, 2', 'Infinity', 'Wed, 99 Foo']) {
    expect(await told(garbage), garbage).toBeUndefined();
  }
  expect(await told('7')).toBe(7_000);
  expect(await told(new Date(0).toUTCString())).toBe(0);
  expect(await told('9'.repeat(400))).toBe(Number.MAX_SAFE_INTEGER);
});

test('more codings than three, one inside the other, are refused', async () => {
  const { url, sockets } = await serve((_request, response) => {
    response.writeHead(200, { 'content-encoding': 'gzip, gzip, gzip, gzip' });
    response.end('x');
  });
  const response = await open().get(url);
  await expect(response.text()).rejects.toMatchObject({ code: 'ERR_INVALID_RESPONSE' });
  await expect.poll(() => sockets.size).toBe(0);
});

test('an address with a zone is no address of a URL', async () => {
  const http = open({ egress: {} });
  for (const host of ['[fe80::1%lo]', '[fe80::1%25lo]', '[::ffff:7f00:1%25lo]']) {
    await expect(http.get(`http://${host}/`), host).rejects.toMatchObject({ code: 'ERR_INVALID_URL' });
  }
});
