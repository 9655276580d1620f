import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { TcpProxy } from '@x/testkit';
import { request as undiciRequest } from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { atEnd, cleanUp, later, open, serve } from './http-server.ts';

afterEach(cleanUp);

/** A server that does with the raw connection what it likes. */
async function raw(onConnection: Parameters<typeof createTcpServer>[1]): Promise<string> {
  const server = createTcpServer(onConnection);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('time', () => {
  it('is over for a server that accepts and never answers, and the connection is freed', async () => {
    const { url, sockets } = await serve(() => {});
    const http = open({ timeoutMs: 100 });
    await expect(http.get(url)).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
    await expect.poll(() => sockets.size).toBe(0);
    expect(http.stats()).toMatchObject({ inFlight: 0, connections: 0, failures: { ERR_TIMEOUT: 1 } });
  });

  it('is over for a body that comes byte by byte', async () => {
    const { url, sockets } = await serve((_request, response) => {
      const timer = setInterval(() => response.write('x'), 10);
      response.on('close', () => clearInterval(timer));
    });
    const http = open();
    const response = await http.get(url, { timeoutMs: 150 });
    await expect(response.text()).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
    await expect.poll(() => sockets.size).toBe(0);
  });

  it('is over for headers that come byte by byte', async () => {
    const url = await raw((socket) => {
      const timer = setInterval(() => socket.write('H'), 10);
      socket.on('close', () => clearInterval(timer));
      socket.on('error', () => {});
      socket.write('HTTP/1.1 200 OK\r\nX-Slow: ');
    });
    await expect(open().get(url, { timeoutMs: 150 })).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
  });

  it('in the queue counts', async () => {
    const { url } = await serve(() => {});
    const http = open({ maxConnections: 1, timeoutMs: 5_000 });
    const controller = new AbortController();
    const first = http.get(url, { signal: controller.signal }).catch(() => {});
    await expect(http.get(url, { timeoutMs: 50 })).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
    expect(http.stats().queued).toBe(0);
    controller.abort();
    await first;
  });

  it('to connect is bounded', async () => {
    const silent = createTcpServer({ pauseOnConnect: true });
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    atEnd(() => silent.close());
    const { port } = silent.address() as AddressInfo;
    const http = open({ connectTimeoutMs: 200 });
    await expect(http.get(`https://127.0.0.1:${port}/`)).rejects.toMatchObject({ code: 'ERR_CONNECT_TIMEOUT' });
    await http.close({ timeoutMs: 0 });
  });
});

describe('an abort', () => {
  it('is seen at once: in the queue, without an answer, in the body', async () => {
    const { url, sockets } = await serve((request, response) => {
      if (request.url === '/body') response.write('begin');
    });
    const http = open({ maxConnections: 2 });
    const reason = new Error('the client has gone');
    for (const path of ['/nothing', '/body']) {
      const controller = new AbortController();
      const { signal } = controller;
      const running = http.get(url + path, { signal });
      const running2 = http.get(url + path, { signal });
      const queued = http.get(url + path, { signal });
      const outcome = Promise.allSettled(
        [running, running2].map((call) => (path === '/body' ? call.then((response) => response.text()) : call)),
      );
      await later(50);
      controller.abort(reason);
      await expect(queued).rejects.toBe(reason);
      for (const result of await outcome) expect(result).toMatchObject({ status: 'rejected', reason });
      await expect.poll(() => sockets.size).toBe(0);
    }
    await expect.poll(() => http.stats()).toMatchObject({ inFlight: 0, queued: 0, failures: {} });
  });

  it('before the call sends nothing', async () => {
    const { url, peak } = await serve((_request, response) => response.end());
    await expect(open().get(url, { signal: AbortSignal.abort('gone') })).rejects.toBe('gone');
    expect(peak()).toBe(0);
  });
});

describe('a body', () => {
  it('is inflated, whatever the coding', async () => {
    const codings = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync } as const;
    const { url } = await serve((request, response) => {
      const coding = request.url?.slice(1) as keyof typeof codings;
      response.setHeader('content-encoding', coding);
      response.end(codings[coding]('{"much":"text"}'));
    });
    const http = open();
    for (const coding of Object.keys(codings)) {
      expect(await (await http.get(`${url}/${coding}`)).json()).toEqual({ much: 'text' });
    }
  });

  it('is read as servers send it: empty in spite of its coding, deflated without a wrapper, compressed twice', async () => {
    const bodies: Record<string, [string, Buffer]> = {
      '/empty': ['gzip', Buffer.alloc(0)],
      '/raw': ['deflate', deflateRawSync('text')],
      '/twice': ['deflate, gzip', gzipSync(deflateSync('text'))],
      '/unknown': ['zstd', Buffer.from('text')],
    };
    const { url } = await serve((request, response) => {
      const [coding, body] = bodies[request.url ?? ''] ?? ['', Buffer.alloc(0)];
      response.setHeader('content-encoding', coding);
      response.end(body);
    });
    const http = open();
    for (const path of Object.keys(bodies)) {
      expect(await (await http.get(url + path)).text(), path).toBe(path === '/empty' ? '' : 'text');
    }
  });

  it('that inflates to nothing, without end, is bounded as it came', async () => {
    const nothing = Buffer.concat(Array.from({ length: 3_000 }, () => gzipSync('')));
    const { url, sockets } = await serve((_request, response) => {
      response.setHeader('content-encoding', 'gzip');
      response.on('error', () => {});
      const write = (): void => {
        while (!response.destroyed && response.write(nothing));
        response.once('drain', write);
      };
      write();
    });
    const response = await open({ maxResponseBytes: 100_000 }).get(url);
    await expect(response.bytes()).rejects.toMatchObject({ code: 'ERR_RESPONSE_TOO_LARGE' });
    await expect.poll(() => sockets.size).toBe(0);
  });

  it('above maxResponseBytes is refused: announced, sent, or inflated', async () => {
    const bomb = gzipSync(Buffer.alloc(50_000_000));
    const { url, sockets } = await serve((request, response) => {
      if (request.url === '/announced') response.setHeader('content-length', 2_000_000);
      if (request.url === '/bomb') response.setHeader('content-encoding', 'gzip');
      response.on('error', () => {});
      response.end(request.url === '/bomb' ? bomb : Buffer.alloc(2_000_000));
    });
    const http = open({ maxResponseBytes: 1_000_000 });
    expect(bomb.length).toBeLessThan(1_000_000);
    for (const path of ['/announced', '/sent', '/bomb']) {
      const before = process.memoryUsage().rss;
      // Of what comes after all its length alone: 50 MB of it could not be shown.
      const received = http.get(url + path).then(async (response) => (await response.bytes()).length);
      await expect(received, path).rejects.toMatchObject({ code: 'ERR_RESPONSE_TOO_LARGE' });
      expect(process.memoryUsage().rss - before).toBeLessThan(40_000_000);
    }
    await expect.poll(() => sockets.size).toBe(0);
    const response = await http.get(`${url}/bomb`);
    await expect(
      (async () => {
        for await (const _chunk of response.stream());
      })(),
    ).rejects.toMatchObject({ code: 'ERR_RESPONSE_TOO_LARGE' });
  });

  it('that was broken off takes its connection with it: the next request goes over another', async () => {
    const { url, peak } = await serve((_request, response) => response.end(Buffer.alloc(2_000)));
    const http = open({ maxResponseBytes: 1_000, maxConnections: 1 });
    for (let i = 0; i < 5; i++) {
      // A POST is not repeated, so it would show a connection that is on its way out.
      await expect(http.post(url, { body: 'x' })).rejects.toMatchObject({ code: 'ERR_RESPONSE_TOO_LARGE' });
    }
    expect(http.stats().retries).toBe(0);
    expect(peak()).toBeGreaterThan(0);
  });

  it('that is damaged is an error of its own', async () => {
    const { url } = await serve((_request, response) => {
      response.setHeader('content-encoding', 'gzip');
      response.end('this is not gzip');
    });
    const response = await open().get(url);
    await expect(response.text()).rejects.toMatchObject({ code: 'ERR_INVALID_RESPONSE' });
  });

  it('can be streamed: the server is held back by a slow reader, and let go by one that leaves', async () => {
    let sent = 0;
    const { url, sockets } = await serve((_request, response) => {
      const write = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536))) sent += 65_536;
        response.once('drain', write);
      };
      write();
    });
    const http = open({ maxResponseBytes: 1_000_000_000 });
    const reader = (await http.get(url)).stream().getReader();
    await reader.read();
    await later(100);
    expect(sent).toBeLessThan(20_000_000);
    await reader.cancel();
    await expect.poll(() => sockets.size).toBe(0);
    await expect.poll(() => http.stats().inFlight).toBe(0);
  });

  it('can be read once', async () => {
    const { url } = await serve((_request, response) => response.end('\uFEFFtext'));
    const response = await open().get(url);
    expect(await response.text()).toBe('text');
    await expect(response.text()).rejects.toMatchObject({ code: 'ERR_BODY_USED' });
  });
});

describe('a network that fails', () => {
  it('gives one clear error with a code and its cause', async () => {
    const closed = await raw((socket) => socket.destroy());
    const cut = await raw((socket) => {
      socket.on('error', () => {});
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf');
      setTimeout(() => socket.resetAndDestroy(), 50);
    });
    const nonsense = await raw((socket) => socket.end('SSH-2.0-OpenSSH\r\n'));
    const http = open();
    await expect(http.get('http://127.0.0.1:1/?secret=1')).rejects.toMatchObject({
      code: 'ERR_UNREACHABLE',
      message: expect.not.stringContaining('secret'),
      cause: expect.objectContaining({ code: 'ECONNREFUSED' }),
    });
    await expect(http.get('http://nobody.invalid/')).rejects.toMatchObject({ code: 'ERR_UNREACHABLE' });
    await expect(http.get(closed)).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    const response = await http.get(cut);
    await expect(response.text()).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    await expect(http.get(nonsense)).rejects.toMatchObject({ code: 'ERR_NETWORK' });
    expect(http.stats()).toMatchObject({ inFlight: 0, connections: 0 });
  });

  it('that closes a kept connection as a request goes out is not seen by who only reads', async () => {
    const { url, server } = await serve((_request, response) => response.end('ok'));
    const proxy = await TcpProxy.start(url);
    atEnd(() => proxy[Symbol.asyncDispose]());
    const http = open();
    const through = `http://127.0.0.1:${proxy.port}/`;
    await (await http.get(through)).text();
    // The server closes at the very moment the next request is on its way.
    server.removeAllListeners('request');
    server.once('request', (request) => request.socket.destroy());
    server.on('request', (_request, response) => {
      if (!response.destroyed) response.end('again');
    });
    expect(await (await http.get(through)).text()).toBe('again');
    expect(http.stats().retries).toBe(1);
    server.prependOnceListener('request', (request) => request.socket.destroy());
    await expect(http.post(through, { body: 'once' })).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
  });
});

describe('getJson', () => {
  it('rejects on a bad status with what a caller needs, and no secret', async () => {
    const { url } = await serve((request, response) => {
      if (request.url?.startsWith('/date'))
        response.setHeader('retry-after', new Date(Date.now() + 5_000).toUTCString());
      else response.setHeader('retry-after', '7');
      response.statusCode = 503;
      response.end('overloaded');
    });
    const http = open();
    const error = await http.getJson(`${url}/path?token=secret`).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'ERR_HTTP_STATUS', status: 503, retryAfterMs: 7_000, bodyStart: 'overloaded' });
    expect(String((error as Error).stack)).not.toContain('secret');
    const dated = (await http.getJson(`${url}/date`).catch((reason: unknown) => reason)) as { retryAfterMs: number };
    expect(dated.retryAfterMs).toBeGreaterThan(3_000);
    expect((await http.get(url)).status).toBe(503);
    expect(http.stats()).toMatchObject({ responses: { '5xx': 3 } });
  });

  it('gives the parsed body, and says when it is not JSON', async () => {
    const { url } = await serve((request, response) => {
      expect(request.headers.accept).toBe('application/json');
      response.end(request.url === '/good' ? '{"a":1}' : '<html>');
    });
    const http = open();
    expect(await http.getJson(`${url}/good`)).toEqual({ a: 1 });
    await expect(http.getJson(`${url}/bad`)).rejects.toMatchObject({ code: 'ERR_INVALID_RESPONSE', status: 200 });
  });
});

describe('a request', () => {
  it('carries method, headers and body', async () => {
    const { url } = await serve(async (request, response) => {
      const body = (await request.toArray()).join('');
      response.setHeader('x-answer', ['1', '2']);
      response.end(
        JSON.stringify({
          method: request.method,
          type: request.headers['content-type'],
          x: request.headers['x-a'],
          body,
        }),
      );
    });
    const http = open();
    const response = await http.post(url, { json: { n: 1 }, headers: new Headers({ 'X-A': 'b' }) });
    expect(response.headers.get('x-answer')).toBe('1, 2');
    expect(await response.json()).toEqual({ method: 'POST', type: 'application/json', x: 'b', body: '{"n":1}' });
    const form = await http.request(url, {
      method: 'put',
      body: new URLSearchParams({ a: 'b c' }),
      headers: { 'x-a': undefined },
    });
    expect(await form.json()).toMatchObject({ method: 'PUT', body: 'a=b+c' });
    async function* chunks() {
      yield 'one ';
      yield 'two';
    }
    expect(await (await http.post(url, { body: chunks() })).json()).toMatchObject({ body: 'one two' });
    await expect(http.get('not a url?secret')).rejects.toMatchObject({
      code: 'ERR_INVALID_URL',
      message: expect.not.stringContaining('secret'),
    });
    await expect(http.get('file:///etc/passwd')).rejects.toMatchObject({ code: 'ERR_INVALID_URL' });
    await expect(http.get('http://user:secret@127.0.0.1/')).rejects.toMatchObject({ code: 'ERR_INVALID_URL' });
    expect(await (await http.request(url, { method: 'HEAD' })).text()).toBe('');
  });

  it('of undici by the dispatcher is aborted at once, in the queue and while it is connected', async () => {
    const { url } = await serve(() => {});
    const http = open({ maxConnections: 1 });
    const { dispatcher } = http;
    const [one, two] = [new AbortController(), new AbortController()];
    const connecting = undiciRequest(url, { dispatcher, signal: one.signal });
    const queued = undiciRequest(url, { dispatcher, signal: two.signal });
    await expect.poll(() => http.stats()).toMatchObject({ queued: 1, inFlight: 1 });
    two.abort(new Error('gone'));
    await expect(queued).rejects.toThrow('gone');
    expect(http.stats()).toMatchObject({ queued: 0, inFlight: 1 });
    one.abort(new Error('gone too'));
    await expect(connecting).rejects.toThrow('gone too');
    await expect.poll(() => http.stats()).toMatchObject({ inFlight: 0, connections: 0 });
    const never = await raw((socket) => socket.pause());
    const three = new AbortController();
    const handshaking = undiciRequest(never.replace('http:', 'https:'), { dispatcher, signal: three.signal });
    await later(20);
    three.abort(new Error('gone as well'));
    await expect(handshaking).rejects.toThrow('gone as well');
    await expect.poll(() => http.stats()).toMatchObject({ inFlight: 0, connections: 0, queued: 0 });
  });

  it('of fetch goes over the same connections, by the dispatcher', async () => {
    const { url, peak } = await serve((_request, response) => setTimeout(() => response.end('ok'), 10));
    const http = open({ maxConnections: 2 });
    const init = { dispatcher: http.dispatcher } as unknown as RequestInit;
    const texts = await Promise.all(Array.from({ length: 10 }, async () => (await fetch(url, init)).text()));
    expect(new Set(texts)).toEqual(new Set(['ok']));
    expect(peak()).toBe(2);
    await expect.poll(() => http.stats()).toMatchObject({ inFlight: 0, idle: 2 });
    await http.close();
    await expect(fetch(url, init)).rejects.toThrow();
  });
});
