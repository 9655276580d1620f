import type { IncomingMessage } from 'node:http';
import { ConcurrencyLimiter } from '@x/backpressure';
import { expect, test } from 'vitest';
import { openRaw, serve, until, watchUncaught } from './admission-server.ts';

const uncaught = watchUncaught();

/** A server that refuses everything; its limiter is closed. */
async function refusing(before: (request: IncomingMessage) => void = () => {}) {
  const limiter = new ConcurrencyLimiter({ limit: 1 });
  await limiter.close();
  const exempt = (request: IncomingMessage): false => {
    before(request);
    return false;
  };
  return serve(() => {}, { limiter, exempt });
}

async function idFor(url: string, body: string): Promise<unknown> {
  const response = await fetch(url, { method: 'POST', body });
  expect(response.status).toBe(503);
  expect(response.headers.get('cache-control')).toBe('no-store');
  return ((await response.json()) as { id: unknown }).id;
}

test("a refusal carries the request's id where it comes with the headers", async () => {
  const { url } = await refusing();
  expect(await idFor(url, '{"jsonrpc":"2.0","id":7,"method":"tools/call"}')).toBe(7);
  expect(await idFor(url, '{"jsonrpc":"2.0","id":"a-1","params":{"id":"not this"}}')).toBe('a-1');
});

test('an id is given back as it was sent or not at all', async () => {
  const { url } = await refusing();
  const kept = [
    '0',
    '-1',
    '1.5',
    '9007199254740991',
    '-9007199254740991',
    '""',
    '"a\\"\\n\\u0000\\ud83d\\ude00"',
    '"\\ud800"',
  ];
  for (const id of kept) expect(await idFor(url, `{"id":${id},"method":"x"}`), id).toEqual(JSON.parse(id));
  expect(await idFor(url, `{"id":"${'x'.repeat(1_024)}"}`)).toBe('x'.repeat(1_024));
  const not = [
    '9007199254740993',
    '1e400',
    '-1e400',
    '12345678901234567890',
    'true',
    '[1]',
    '{"id":1}',
    `"${'x'.repeat(1_025)}"`,
  ];
  for (const id of not) expect(await idFor(url, `{"id":${id},"method":"x"}`), id).toBe(null);
});

test('a client’s own answer, which has the id of a request of the server, gets none', async () => {
  const { url } = await refusing();
  expect(await idFor(url, '{"jsonrpc":"2.0","id":7,"result":{}}')).toBe(null);
  expect(await idFor(url, '{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"m"}}')).toBe(null);
});

test('a batch has no one id, and hostile JSON none', async () => {
  const { url } = await refusing();
  const bodies = [
    '[{"id":1},{"id":2}]',
    '[]',
    '{"__proto__":{"id":1}}',
    '['.repeat(4_000),
    '"id"',
    '{"params":{"id":1}}',
  ];
  for (const body of bodies) expect(await idFor(url, body), body.slice(0, 30)).toBe(null);
});

test('what is no request, or too large to be worth it, has none', async () => {
  const { url } = await refusing();
  for (const body of ['{"method":"x"}', '{"id":null}', '{"id":{}}', '[{"id":1}]', '{"id":1', 'hello', 'null']) {
    expect(await idFor(url, body), body).toBe(null);
  }
  expect(await idFor(url, JSON.stringify({ id: 1, params: 'x'.repeat(5_000) }))).toBe(null);
  const response = await fetch(url);
  expect(((await response.json()) as { id: unknown }).id).toBe(null);
});

test('a body that was parsed before is not read again', async () => {
  let body: unknown = { id: 'parsed' };
  const { url } = await refusing((request) => Object.assign(request, { body }));
  expect(await idFor(url, 'anything')).toBe('parsed');
  for (body of ['{"id":1}', Buffer.from('{"id":1}'), null, [{ id: 1 }], { id: 'x'.repeat(100_000) }, { id: 1n }]) {
    expect(await idFor(url, 'anything')).toBe(null);
  }
});

test('a body that is late is not waited for', async () => {
  const { port } = await refusing();
  const { socket, text } = await openRaw(port);
  socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n');
  await until(() => text().includes('"id":null'));
  expect(text()).toContain('HTTP/1.1 503');
});

test('whoever answers before the id was read has answered', async () => {
  const { url, server } = await serve(() => {}, { shedder: { check: () => ({ reason: 'shed', retryAfterMs: 1 }) } });
  server.on('request', (_request, response) => response.end('something else'));
  for (let n = 0; n < 2; n++) {
    expect(await (await fetch(url, { method: 'POST', body: '{"id":1}' })).text()).toBe('something else');
  }
  await new Promise((resolve) => setImmediate(resolve));
  expect(uncaught).toEqual([]);
});

test('an id in a body that is not whole yet is not given back, though what is here can be read', async () => {
  const { port } = await serve(() => {}, { shedder: { check: () => ({ reason: 'shed', retryAfterMs: 1 }) } });
  const { socket, text } = await openRaw(port);
  const body = '{"jsonrpc":"2.0","id":7,"method":"x"}';
  socket.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length + 1}\r\n\r\n${body}`);
  await until(() => text().includes('"error"'));
  expect(text()).toContain('"id":null');
});
