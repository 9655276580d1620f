import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ChildServer } from '../src/child-server.ts';
import { connect, startDemo } from './demo.ts';

const TOKEN = 'a-token-for-the-guards-test';
let server: ChildServer;

beforeAll(async () => {
  server = await startDemo(
    '--token',
    TOKEN,
    '--allowed-hosts',
    'demo.example',
    '--allowed-origins',
    'https://app.example',
    '--max-body',
    '2048',
  );
});
afterAll(() => server?.[Symbol.asyncDispose]());

interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

/** Plain node:http, since `fetch` does not let a test set the Host header. */
function send(
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      new URL(path, server.url),
      { method: options.method ?? 'GET', headers: options.headers ?? {} },
      (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (chunk) => {
          body += chunk;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
      },
    );
    outgoing.on('error', reject);
    outgoing.end(options.body);
  });
}

const authorization = `Bearer ${TOKEN}`;
const json = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
const ping = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' });

describe.each(['/mcp', '/metrics', '/healthz', '/readyz', '/nothing'])('on %s', (path) => {
  test.each(['evil.example', 'evil.example:80', '127.0.0.1.evil.example', '['])(
    'the Host %j is refused',
    async (host) => {
      const answer = await send(path, { headers: { host } });
      expect(answer.status).toBe(403);
    },
  );

  test('a foreign Origin is refused', async () => {
    for (const origin of ['https://evil.example', 'null', 'http://localhost.evil.example']) {
      expect((await send(path, { headers: { origin } })).status, origin).toBe(403);
    }
  });
});

test('loopback names, the allowed host and trusted origins are accepted', async () => {
  const { port } = new URL(server.url);
  for (const host of [`127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`, 'demo.example', 'DEMO.example']) {
    expect((await send('/healthz', { headers: { host } })).status, host).toBe(200);
  }
  for (const origin of ['https://app.example', 'http://localhost:1234']) {
    expect((await send('/healthz', { headers: { origin } })).status, origin).toBe(200);
  }
});

test('without the token, with a wrong one, or with half of it, MCP and metrics are refused', async () => {
  for (const headers of [
    {},
    { authorization: 'Bearer wrong-token-wrong-token' },
    { authorization: `Bearer ${TOKEN.slice(0, -1)}` },
    { authorization: `Basic ${TOKEN}` },
  ]) {
    const answer = await send('/mcp', {
      method: 'POST',
      headers: { ...json, ...(headers as Record<string, string>) },
      body: ping,
    });
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toBe('Bearer');
    expect((await send('/metrics', { headers: headers as Record<string, string> })).status).toBe(401);
  }
});

test('health needs no token, and readiness says what can be reached', async () => {
  expect(JSON.parse((await send('/healthz')).body)).toEqual({ status: 'ok' });
  const ready = await send('/readyz');
  expect([ready.status, JSON.parse(ready.body)]).toEqual([200, { postgres: true, redis: true, accepting: true }]);
});

test('with the token the SDK’s client gets in', async () => {
  const client = await connect(server.url, { authorization });
  expect((await client.listTools()).tools).toHaveLength(8);
  await client.close();
});

test('a body over the limit is refused, also without a Content-Length', async () => {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping', params: { padding: 'x'.repeat(4_000) } });
  expect((await send('/mcp', { method: 'POST', headers: { ...json, authorization }, body })).status).toBe(413);
  expect(
    (await send('/mcp', { method: 'POST', headers: { ...json, authorization, 'transfer-encoding': 'chunked' }, body }))
      .status,
  ).toBe(413);
});

test('what is no JSON-RPC message is refused with a JSON-RPC error and no stack trace', async () => {
  for (const body of ['{', '[]', `[${ping}]`, '7', 'null', '{"jsonrpc":"1.0"}']) {
    const answer = await send('/mcp', { method: 'POST', headers: { ...json, authorization }, body });
    expect(answer.status, body).toBe(400);
    expect(JSON.parse(answer.body), body).toMatchObject({ jsonrpc: '2.0', error: { message: expect.any(String) } });
    expect(answer.body).not.toMatch(/\bat .*\.js/);
  }
});

test('other methods on /mcp are refused with Allow, other paths with 404', async () => {
  for (const method of ['GET', 'DELETE', 'PUT']) {
    const answer = await send('/mcp', { method, headers: { authorization } });
    expect([answer.status, answer.headers.allow]).toEqual([405, 'POST']);
  }
  expect((await send('/', { headers: { authorization } })).status).toBe(404);
});

test('nothing that was logged has the token in it', () => {
  expect(JSON.stringify(server.log) + server.output()).not.toContain(TOKEN);
});
