// A header that came twice was an array where a text was expected: a TypeError for the caller, a body that was not inflated,
// a redirect to nowhere. And an egress policy of the wrong kind was no policy, or one that failed at the first request.
import { gzipSync } from 'node:zlib';
import { HttpPool } from '@x/pools/http';
import { afterEach, expect, test } from 'vitest';
import { cleanUp, open, serve } from '../http-server.ts';

afterEach(cleanUp);

test('a Retry-After that came twice counts once, or not at all if the two differ', async () => {
  let requests = 0;
  const { url } = await serve((request, response) => {
    requests++;
    if (request.url === '/once' && requests > 1) return response.end('"well"');
    response.writeHead(503, ['retry-after', '7', 'retry-after', request.url === '/same' ? '7' : '0']).end();
  });
  const retrying = open({ retry: { baseDelayMs: 1 }, timeoutMs: 5_000 });
  expect(await (await retrying.get(`${url}/once`)).json()).toBe('well');
  expect(retrying.stats()).toMatchObject({ retries: 1, failures: {} });
  const patient = open({ retry: { baseDelayMs: 1 }, timeoutMs: 5_000 });
  expect((await patient.get(`${url}/same`)).status).toBe(503);
  expect(patient.stats()).toMatchObject({ retries: 0 });
  await expect(open().getJson(url)).rejects.toMatchObject({ code: 'ERR_HTTP_STATUS', status: 503 });
});

test('codings that came in two lines are one list', async () => {
  const body = gzipSync(gzipSync('twice'));
  const { url } = await serve((_request, response) => {
    response.writeHead(200, ['content-encoding', 'gzip', 'content-encoding', 'gzip']).end(body);
  });
  expect(await (await open().get(url)).text()).toBe('twice');
});

test('a redirect to two places goes to none, unless they are the same', async () => {
  const { url } = await serve((request, response) => {
    if (request.url === '/end') return response.end('there');
    const second = request.url === '/same' ? '/end' : '/elsewhere';
    response.writeHead(302, ['location', '/end', 'location', second]).end();
  });
  const pool = open();
  expect(await (await pool.get(`${url}/same`)).text()).toBe('there');
  await expect(pool.get(`${url}/two`)).rejects.toMatchObject({
    code: 'ERR_INVALID_RESPONSE',
    message: `${url} redirected to several addresses at once`,
  });
  expect(pool.stats()).toMatchObject({ inFlight: 0, queued: 0 });
});

test('options of the wrong kind are refused by what was expected and what was got, before there is a pool', () => {
  const make = (options: unknown) => () => new HttpPool(options as never);
  expect(make(null)).toThrow('@x/pools: HttpPool.options must be an object, got null');
  for (const option of ['egress', 'retry', 'hedge', 'tls', 'clock']) {
    for (const [value, words] of [
      [null, 'null'],
      [true, 'true'],
      [[], 'an array'],
    ] as const) {
      expect(make({ [option]: value })).toThrow(`@x/pools: HttpPool.${option} must be an object, got ${words}`);
    }
  }
  expect(make({ lookup: {} })).toThrow('@x/pools: HttpPool.lookup must be a function, got an object');
  expect(make({ random: 1 })).toThrow('@x/pools: HttpPool.random must be a function, got 1');
  expect(make({ http2: 'no' })).toThrow('@x/pools: HttpPool.http2 must be true or false, got a string');
  expect(make({ name: 5 })).toThrow('@x/pools: HttpPool.name must be a string, got 5');
  const egress = (policy: unknown) => make({ egress: policy });
  expect(egress({ allowPublic: 'no' })).toThrow('HttpPool.egress.allowPublic must be true or false, got a string');
  expect(egress({ allowPrivate: null })).toThrow('HttpPool.egress.allowPrivate must be true or false, got null');
  expect(egress({ allowOrigins: 'http://a' })).toThrow('HttpPool.egress.allowOrigins must be an array, got a string');
  expect(egress({ allowSchemes: ['ftp'] })).toThrow(
    'HttpPool.egress.allowSchemes must hold "http" or "https", got "ftp"',
  );
  expect(egress({ allowPorts: 80 })).toThrow('HttpPool.egress.allowPorts must be an array, got 80');
  for (const port of ['80', 0, 65_536, 1.5]) {
    expect(egress({ allowPorts: [port] })).toThrow(
      `HttpPool.egress.allowPorts must hold ports from 1 to 65535, got ${JSON.stringify(port)}`,
    );
  }
  expect(egress({ allowPorts: [1, 65_535], allowSchemes: ['http'], allowOrigins: [] })).not.toThrow();
});

test('what a request is given of the wrong kind is told of by name, and nothing is sent', async () => {
  let requests = 0;
  const { url } = await serve((_request, response) => {
    requests++;
    response.end();
  });
  const pool = open();
  const refused = async (target: unknown, options: unknown, text: string) => {
    await expect(pool.request(target as never, options as never)).rejects.toThrow(
      new TypeError(`@x/pools: HttpPool.request.${text}`),
    );
  };
  await refused(null, {}, 'url must be a string or a URL, got null');
  await refused(5, {}, 'url must be a string or a URL, got 5');
  await refused(url, null, 'options must be an object, got null');
  await refused(url, { signal: null }, 'signal must be an AbortSignal, got null');
  await refused(url, { signal: {} }, 'signal must be an AbortSignal, got an object');
  await refused(url, { method: 5 }, 'method must be a string, got 5');
  await refused(url, { headers: 'a: b' }, 'headers must be Headers, an object or pairs, got a string');
  await refused(url, { headers: [[Symbol('a'), 'b']] }, 'headers: a name must be a string, got a symbol');
  for (const [body, words] of [
    [5, '5'],
    [{}, 'an object'],
    [new FormData(), 'an object'],
  ] as const) {
    const wanted = 'body must be a string, bytes, URLSearchParams or an async iterable';
    await refused(url, { method: 'POST', body }, `${wanted}, got ${words}`);
  }
  await expect(pool.getJson(url, null as never)).rejects.toThrow(
    'HttpPool.getJson.options must be an object, got null',
  );
  expect(requests).toBe(0);
  expect((await pool.get(new URL(url))).status).toBe(200);
  for (const body of [new Uint8Array(1), new ArrayBuffer(1), new Blob(['a']), null, undefined]) {
    expect((await pool.post(url, { body: body as never })).status).toBe(200);
  }
});
