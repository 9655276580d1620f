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
