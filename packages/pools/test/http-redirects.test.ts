import type { IncomingHttpHeaders } from 'node:http';
import { afterEach, expect, it } from 'vitest';
import { cleanUp, open, serve } from './http-server.ts';

afterEach(cleanUp);

it('redirects are followed, with method and body as the status says', async () => {
  const { url, sockets } = await serve(async (request, response) => {
    const body = (await request.toArray()).join('');
    const status = Number(request.url?.slice(1));
    if (status > 300) response.writeHead(status, { location: '/end' }).end('moved');
    else response.end(JSON.stringify([request.method, body, request.headers['content-type'] ?? null]));
  });
  const http = open();
  const outcome = async (status: number, method: string) => {
    const response = await http.request(`${url}/${status}`, { method, ...(method === 'GET' ? {} : { json: 1 }) });
    expect(response.url).toBe(`${url}/end`);
    return response.json();
  };
  expect(await outcome(301, 'GET')).toEqual(['GET', '', null]);
  expect(await outcome(302, 'POST')).toEqual(['GET', '', null]);
  expect(await outcome(303, 'PUT')).toEqual(['GET', '', null]);
  expect(await outcome(307, 'POST')).toEqual(['POST', '1', 'application/json']);
  expect(await outcome(308, 'PUT')).toEqual(['PUT', '1', 'application/json']);
  // Their bodies are let in, so one connection has carried everything.
  expect(sockets.size).toBe(1);
});

it('redirects are bounded, and 0 gives the redirect itself', async () => {
  const { url } = await serve((_request, response) => response.writeHead(302, { location: '/again' }).end());
  await expect(open({ maxRedirects: 3 }).get(url)).rejects.toMatchObject({
    code: 'ERR_TOO_MANY_REDIRECTS',
    status: 302,
  });
  const response = await open({ maxRedirects: 0 }).get(url);
  expect([response.status, response.headers.get('location')]).toEqual([302, '/again']);
  const none = open({ maxRedirects: 3 });
  await expect(none.get(url)).rejects.toThrow();
  await expect.poll(() => none.stats().inFlight).toBe(0);
});

it('another origin is sent no credentials and no header that may hold a secret', async () => {
  const seen: IncomingHttpHeaders[] = [];
  const other = await serve((request, response) => {
    seen.push(request.headers);
    response.end('ok');
  });
  const { url } = await serve((request, response) => {
    seen.push(request.headers);
    response
      .writeHead(302, { location: request.url === '/same' ? '/away' : other.url.replace('//', '//user:pw@') })
      .end();
  });
  const headers = {
    authorization: 'Bearer s',
    cookie: 's',
    'x-api-key': 's',
    accept: 'text/plain',
    'proxy-authorization': 's',
  };
  await open().get(`${url}/same`, { headers });
  expect(seen).toHaveLength(3);
  expect(seen[1]).toMatchObject(headers);
  expect(seen[2]).toMatchObject({ accept: 'text/plain' });
  expect(Object.values(seen[2] ?? {})).not.toContain('s');
  expect(Object.values(seen[2] ?? {})).not.toContain('Bearer s');
  expect(seen[2]).not.toHaveProperty('authorization');
});

it('a redirect to what is no web address, or of a body that cannot be sent twice, is an error', async () => {
  const { url } = await serve((request, response) => {
    request.resume();
    response.writeHead(307, { location: request.url === '/file' ? 'file:///etc/passwd' : '/next' }).end();
  });
  const http = open();
  await expect(http.get(`${url}/file`)).rejects.toMatchObject({ code: 'ERR_INVALID_URL' });
  async function* once() {
    yield 'x';
  }
  await expect(http.post(url, { body: once() })).rejects.toMatchObject({ code: 'ERR_INVALID_RESPONSE' });
  await expect.poll(() => http.stats().inFlight).toBe(0);
});

it('a redirect whose own body never ends does not outlive the call', async () => {
  const { url, sockets } = await serve((request, response) => {
    if (request.url === '/end') return response.end('ok');
    response.writeHead(302, { location: '/end' });
    response.write('x');
  });
  const http = open();
  expect(await (await http.get(url)).text()).toBe('ok');
  await expect.poll(() => http.stats()).toMatchObject({ inFlight: 0, idle: 1 });
  await expect.poll(() => sockets.size).toBe(1);
});

it('a Host of the caller’s own is for the address it was given with, not for the next', async () => {
  const hosts: unknown[] = [];
  const { url } = await serve((request, response) => {
    hosts.push(request.headers.host);
    if (request.url === '/') response.writeHead(302, { location: '/end' }).end();
    else response.end();
  });
  await (await open().get(url, { headers: { host: 'tenant.test', 'x-api-key': 'k' } })).text();
  expect(hosts).toEqual(['tenant.test', new URL(url).host]);
});

it('a redirect whose body does not end is cut off, and not read until the call is over', async () => {
  let closedAt = Number.POSITIVE_INFINITY;
  let answeredAt = 0;
  const { url } = await serve((request, response) => {
    if (request.url === '/end') {
      setTimeout(() => {
        answeredAt = performance.now();
        response.end('there');
      }, 500);
      return;
    }
    response.on('close', () => {
      closedAt = performance.now();
    });
    response.writeHead(302, { location: '/end' });
    const more = (): void => {
      if (!response.destroyed) response.write(Buffer.alloc(10_000), () => setTimeout(more, 5));
    };
    more();
  });
  expect(await (await open().get(url)).text()).toBe('there');
  expect(closedAt).toBeLessThan(answeredAt);
});

it('credentials in the address of a redirect are dropped', async () => {
  const { url } = await serve((request, response) => {
    if (request.url === '/end') response.end(request.headers.authorization ?? 'none');
    else response.writeHead(302, { location: `${url.replace('//', '//user:secret@')}/end` }).end();
  });
  const response = await open().get(url);
  expect([response.url, await response.text()]).toEqual([`${url}/end`, 'none']);
});
