import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ChildServer } from '../src/child-server.ts';
import { eventually, metric, setUpstream, startDemo } from './demo.ts';

let server: ChildServer;

beforeAll(async () => {
  server = await startDemo('--max-concurrency', '2', '--max-queue', '2', '--queue-timeout', '60000');
});
afterAll(() => server?.[Symbol.asyncDispose]());

const callUpstream = (id: number, signal?: AbortSignal) =>
  fetch(server.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id,
      method: 'tools/call',
      params: { name: 'call_external_api', arguments: { endpoint: 'status' } },
    }),
    ...(signal ? { signal } : {}),
  });

test('over capacity a request is answered 503 at once, with when to retry; what watches the server is answered all the same', async () => {
  await setUpstream(server, { mode: 'slow', delayMs: 1_500 });
  const admitted = [1, 2, 3, 4].map((id) => callUpstream(id));
  await eventually(async () => (await metric(server, /^queue_depth /)) === 2);
  expect(await metric(server, /^concurrent_requests /)).toBe(2);

  const shed = await callUpstream(5);
  expect(shed.status).toBe(503);
  expect(Number(shed.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
  expect(shed.headers.get('cache-control')).toBe('no-store');
  const body = (await shed.json()) as any;
  expect(body).toMatchObject({
    jsonrpc: '2.0',
    error: { code: 503, data: { reason: 'queue_full', retryAfterMs: expect.any(Number) } },
  });
  expect(JSON.stringify(body)).toContain('server_overloaded');
  for (const path of ['/healthz', '/readyz', '/metrics'])
    expect((await fetch(new URL(path, server.url))).status).toBe(200);

  await setUpstream(server, { mode: 'ok' });
  for (const response of await Promise.all(admitted)) expect(response.status).toBe(200);
  expect((await callUpstream(6)).status).toBe(200);
});

test('a caller who goes away frees its place, in the queue and at work', async () => {
  await setUpstream(server, { mode: 'slow', delayMs: 5_000 });
  const callers = [1, 2, 3, 4].map((id) => {
    const controller = new AbortController();
    return { controller, gone: callUpstream(id, controller.signal).catch(() => 'gone') };
  });
  await eventually(async () => (await metric(server, /^queue_depth /)) === 2);
  for (const { controller } of callers) controller.abort();
  expect(await Promise.all(callers.map(({ gone }) => gone))).toEqual(['gone', 'gone', 'gone', 'gone']);
  await eventually(
    async () => (await metric(server, /^concurrent_requests /)) === 0 && (await metric(server, /^queue_depth /)) === 0,
  );
  await setUpstream(server, { mode: 'ok' });
  expect((await callUpstream(5)).status).toBe(200);
});
