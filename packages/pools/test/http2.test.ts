import { readFileSync } from 'node:fs';
import { constants, createSecureServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { atEnd, cleanUp, later, open } from './http-server.ts';

afterEach(cleanUp);

const cert = readFileSync(new URL('./fixtures/localhost.cert.pem', import.meta.url), 'utf8');
const key = readFileSync(new URL('./fixtures/localhost.key.pem', import.meta.url), 'utf8');

it('one connection carries many requests where the server offers HTTP/2', async () => {
  const together: { end(body: string): unknown }[] = [];
  const server = createSecureServer({ cert, key, allowHTTP1: true }, async (request, response) => {
    const body = (await request.toArray()).join('');
    if (request.url === '/never') return;
    if (request.url === '/together') {
      together.push(response);
      if (together.length === 50) for (const one of together) one.end('together');
      return;
    }
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

  // Each waits for all the others.
  const fifty = await Promise.all(Array.from({ length: 50 }, () => http.get(`${url}/together`)));
  expect(await Promise.all(fifty.map((response) => response.text()))).toEqual(Array(50).fill('together'));
  expect(connections).toBe(1);

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
  // The handshake may take longer than the hedge waits.
  await (await http.get(url, { hedge: false })).text();
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

/** An HTTP/2 server that does with a stream what it likes. */
async function streams(
  onStream: (stream: ServerHttp2Stream, path: string, session: ServerHttp2Session) => void,
  settings: { maxConcurrentStreams?: number } = {},
) {
  const server = createSecureServer({ cert, key, settings });
  const sessions = new Set<ServerHttp2Session>();
  server.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
    session.on('error', () => {});
  });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    onStream(stream, headers[':path'] ?? '', stream.session as ServerHttp2Session);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  return { url: `https://localhost:${(server.address() as AddressInfo).port}`, sessions };
}

const answer = (stream: ServerHttp2Stream, text = 'ok') => {
  stream.respond({ ':status': 200 });
  stream.end(text);
};

it('a stream that the server resets is an error of its own request, and leaves the others of its connection alone', async () => {
  const { url, sessions } = await streams((stream, path) => {
    if (path === '/reset') stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    else if (path === '/half') {
      stream.respond({ ':status': 200 });
      stream.write('half', () => stream.destroy(new Error('broken')));
    } else if (path === '/short') {
      stream.respond({ ':status': 200, 'content-length': 100 });
      stream.write('half', () => stream.destroy());
    } else setTimeout(() => answer(stream), 30);
  });
  const http = open({ tls: { ca: cert } });
  await (await http.get(url)).text();
  const slow = http.get(`${url}/slow`);
  await expect(http.get(`${url}/reset`)).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
  for (const path of ['/half', '/short']) {
    await expect(http.get(url + path).then((response) => response.text())).rejects.toMatchObject({
      code: 'ERR_CONNECTION_LOST',
    });
  }
  expect(await (await slow).text()).toBe('ok');
  await expect.poll(() => http.stats()).toMatchObject({ inFlight: 0, connections: 1, idle: 1 });
  expect(sessions.size).toBe(1);
});

it('a server that says that it goes away: nobody waits for ever, and the next request goes over another connection', async () => {
  const { url, sessions } = await streams((stream, path, session) => {
    if (path === '/goaway') session.goaway(constants.NGHTTP2_NO_ERROR, 0);
    else if (path !== '/never') answer(stream);
  });
  const http = open({ tls: { ca: cert }, timeoutMs: 5_000 });
  await (await http.get(url)).text();
  const outcomes = await Promise.allSettled([
    http.get(`${url}/never`, { timeoutMs: 500 }),
    http.post(`${url}/goaway`, { body: 'x' }),
    http.get(`${url}/other`).then((response) => response.text()),
  ]);
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') expect(outcome.reason.code).toMatch(/^ERR_(CONNECTION_LOST|TIMEOUT)$/);
  }
  // What changes something is not sent again.
  expect(outcomes[1]).toMatchObject({ status: 'rejected', reason: { code: 'ERR_CONNECTION_LOST' } });
  expect(await (await http.get(url)).text()).toBe('ok');
  await expect.poll(() => http.stats()).toMatchObject({ inFlight: 0, queued: 0, connections: 1, idle: 1 });
  await expect.poll(() => sessions.size).toBe(1);
});

it('no more streams at once than the server takes, and all are served', async () => {
  let running = 0;
  let most = 0;
  const { url, sessions } = await streams(
    (stream) => {
      most = Math.max(most, ++running);
      setTimeout(() => {
        running--;
        answer(stream);
      }, 5);
    },
    { maxConcurrentStreams: 3 },
  );
  const http = open({ tls: { ca: cert } });
  await (await http.get(url)).text();
  const controller = new AbortController();
  const calls = Array.from({ length: 30 }, () => http.get(url).then((response) => response.text()));
  const aborted = Array.from({ length: 10 }, () =>
    http.get(url, { signal: controller.signal }).catch((error) => error),
  );
  controller.abort('gone');
  expect(new Set(await Promise.all(aborted))).toEqual(new Set(['gone']));
  expect(new Set(await Promise.all(calls))).toEqual(new Set(['ok']));
  expect(most).toBeLessThanOrEqual(3);
  await expect.poll(() => http.stats()).toMatchObject({ inFlight: 0, queued: 0 });
  expect(sessions.size).toBeLessThanOrEqual(http.stats().connections);
});

it('a server that offers HTTP/2 no more is spoken to in HTTP/1.1 from the next connection on, and one that offers it again in HTTP/2', async () => {
  let port = 0;
  const listen = async (allow: boolean) => {
    const handler = (request: { httpVersion: string }, response: { end(text: string): void }) =>
      response.end(request.httpVersion);
    const server = allow ? createSecureServer({ cert, key }, handler) : createServer({ cert, key }, handler);
    const sockets = new Set<{ destroy(): void }>();
    server.on('secureConnection', (socket) => sockets.add(socket));
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    ({ port } = server.address() as AddressInfo);
    return async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    };
  };
  const http = open({ tls: { ca: cert } });
  for (const [allow, version] of [
    [true, '2.0'],
    [false, '1.1'],
    [true, '2.0'],
  ] as const) {
    const close = await listen(allow);
    const texts = await Promise.all(
      Array.from({ length: 5 }, async () => (await http.get(`https://localhost:${port}`)).text()),
    );
    expect(new Set(texts)).toEqual(new Set([version]));
    if (allow) expect(http.stats().connections).toBe(1);
    await close();
    await expect.poll(() => http.stats().connections).toBe(0);
  }
});

it('a burst opens no more connections than it needs, and one that cannot be made holds up nobody', async () => {
  const waiting: { end(): unknown }[] = [];
  const server = createSecureServer({ cert, key }, (request, response) => {
    if (request.url === '/now') response.end();
    else waiting.push(response);
  });
  let connections = 0;
  server.on('secureConnection', () => connections++);
  const sessions = new Set<ServerHttp2Session>();
  server.on('session', (session) => sessions.add(session));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  const http = open({ tls: { ca: cert } });
  await http.get(`${url}/now`);
  const burst = Array.from({ length: 250 }, () => http.get(url));
  await expect.poll(() => waiting.length, { timeout: 10_000 }).toBe(250);
  expect(connections).toBe(3);
  for (const response of waiting) response.end();
  await Promise.all(burst);
  expect(http.stats()).toMatchObject({ inFlight: 0, queued: 0, responses: { '2xx': 251 } });
  const closed = new Promise((resolve) => server.close(resolve));
  for (const session of sessions) session.destroy();
  await closed;
  const outcomes = await Promise.allSettled(burst.map(() => http.get(url)));
  expect(new Set(outcomes.map((one) => one.status === 'rejected' && one.reason.code))).toEqual(
    new Set(['ERR_UNREACHABLE']),
  );
});
