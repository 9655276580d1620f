// An HTTP/2 connection whose only request was aborted as it was being made was noted twice as being free. Requests that must go alone shared
// it, and when it was lost, it was taken for free again and again: its origin got nothing but ERR_POOL_CLOSED.
import { readFileSync } from 'node:fs';
import { createSecureServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { atEnd, cleanUp, open } from '../http-server.ts';

afterEach(cleanUp);

const cert = readFileSync(new URL('../fixtures/localhost.cert.pem', import.meta.url), 'utf8');
const key = readFileSync(new URL('../fixtures/localhost.key.pem', import.meta.url), 'utf8');

it('a connection that nobody wants any more when it is made is free once', async () => {
  const posts: ServerHttp2Stream[] = [];
  const used: ServerHttp2Stream['session'][] = [];
  const sessions = new Set<ServerHttp2Session>();
  const server = createSecureServer({ cert, key });
  server.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
    session.on('error', () => {});
  });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    if (headers[':method'] === 'GET') {
      stream.respond({ ':status': 200 });
      stream.end('ok');
      return;
    }
    posts.push(stream);
    used.push(stream.session);
    if (posts.length < 2) return;
    for (const post of posts) {
      post.respond({ ':status': 200 });
      post.end('posted');
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  const http = open({ tls: { ca: cert }, timeoutMs: 10_000 });
  const controllers = [new AbortController(), new AbortController()];
  // While the second one waits for the connection, the first one does not give it up.
  const calls = controllers.map(({ signal }) => http.get(url, { signal }));
  for (const controller of controllers) controller.abort('gone');
  for (const call of calls) await expect(call).rejects.toBe('gone');
  await expect.poll(() => http.stats(), { timeout: 5_000 }).toMatchObject({ connections: 1, idle: 1, inFlight: 0 });

  const answers = await Promise.all([1, 2].map(async (n) => (await http.post(url, { json: n })).text()));
  expect(answers).toEqual(['posted', 'posted']);
  expect(new Set(used).size).toBe(2);
  await expect.poll(() => http.stats(), { timeout: 5_000 }).toMatchObject({ connections: 2, idle: 2 });

  // The one that is left is there for all that follows.
  used[0]?.destroy();
  await expect.poll(() => http.stats(), { timeout: 5_000 }).toMatchObject({ connections: 1, idle: 1 });
  for (let n = 0; n < 3; n++) expect(await (await http.get(url)).text()).toBe('ok');
  expect(http.stats()).toMatchObject({ connections: 1, idle: 1, inFlight: 0 });
});
