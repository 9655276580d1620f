import { type LoadTestProgress, runLoadTest } from '@x/loadtest';
import { expect, test } from 'vitest';
import { reply, startRaw, success } from './mcp-servers.ts';

test('the handshake is done once, in order, with the version that the server chose', async () => {
  await using server = await startRaw(({ id }, response) => reply(response, { id, result: success }));
  await runLoadTest({
    target: server.url,
    tool: 't',
    concurrency: 3,
    durationMs: 50,
    headers: { Authorization: 'Bearer x' },
  });
  const methods = server.messages.map(({ method }) => method);
  expect(methods.slice(0, 3)).toEqual(['initialize', 'notifications/initialized', 'tools/call']);
  expect(methods.lastIndexOf('initialize')).toBe(0);
  expect(methods.lastIndexOf('notifications/initialized')).toBe(1);
  for (const headers of server.headers.slice(1)) expect(headers['mcp-protocol-version']).toBe('2025-06-18');
  for (const headers of server.headers) {
    expect(headers.authorization).toBe('Bearer x');
    expect(headers.accept).toBe('application/json, text/event-stream');
  }
});

test('arguments are constant, take turns, or are made for the number of the call', async () => {
  await using server = await startRaw(({ id }, response) => reply(response, { id, result: success }));
  const given = async (args: Parameters<typeof runLoadTest>[0]['args']) => {
    server.messages.length = 0;
    await runLoadTest({ target: server.url, tool: 't', args, concurrency: 1, durationMs: 60 });
    return server.messages.filter(({ method }) => method === 'tools/call').map(({ params }) => params.arguments);
  };
  expect((await given({ a: 1 })).slice(0, 2)).toEqual([{ a: 1 }, { a: 1 }]);
  expect((await given([{ a: 1 }, { a: 2 }])).slice(0, 3)).toEqual([{ a: 1 }, { a: 2 }, { a: 1 }]);
  expect((await given((seq) => ({ seq }))).slice(0, 3)).toEqual([{ seq: 0 }, { seq: 1 }, { seq: 2 }]);
  expect((await given(undefined))[0]).toEqual({});
});

test('no more than concurrency requests are in flight, and as many are', async () => {
  let inFlight = 0;
  let most = 0;
  await using server = await startRaw(({ id }, response) => {
    most = Math.max(most, ++inFlight);
    setTimeout(() => {
      inFlight--;
      reply(response, { id, result: success });
    }, 10);
  });
  const result = await runLoadTest({ target: server.url, tool: 't', concurrency: 7, durationMs: 200 });
  expect(most).toBe(7);
  expect(result.failures).toBe(0);
});

test('an open loop sends at its rate, and what the server delays counts from when it was due', async () => {
  let first = true;
  await using server = await startRaw(({ id }, response) => {
    const delayMs = first ? 300 : 0;
    first = false;
    setTimeout(() => reply(response, { id, result: success }), delayMs);
  });
  // One connection: the nine requests that fall due behind the slow one are sent late.
  const result = await runLoadTest({ target: server.url, tool: 't', concurrency: 1, rate: 33, durationMs: 600 });
  expect(result.total + result.notSent).toBe(20);
  expect(result.latencyMs.max).toBeGreaterThanOrEqual(290);
  // In a closed loop there would be a single slow request; here each that waited behind it is as slow as its user found it.
  expect(result.latencyMs.p90).toBeGreaterThan(200);
});

test('requests that never found a free connection are said', async () => {
  await using server = await startRaw(
    ({ id }, response) => void setTimeout(() => reply(response, { id, result: success }), 100),
  );
  const result = await runLoadTest({ target: server.url, tool: 't', concurrency: 1, rate: 100, durationMs: 350 });
  expect(result.rate).toBe(100);
  expect(result.total).toBeLessThanOrEqual(4);
  expect(result.total + result.notSent).toBe(35);
});

test('the warm-up is not counted', async () => {
  let calls = 0;
  await using server = await startRaw(({ id }, response) => {
    calls++;
    reply(response, { id, result: success });
  });
  const phases = new Set<string>();
  const result = await runLoadTest({
    target: server.url,
    tool: 't',
    concurrency: 1,
    rate: 50,
    warmupMs: 400,
    durationMs: 200,
    progressMs: 50,
    onProgress: ({ phase }) => phases.add(phase),
  });
  expect(calls).toBe(30);
  expect(result.total).toBe(10);
  expect(result.durationMs).toBe(200);
  expect([...phases].slice(0, 2)).toEqual(['warmup', 'measuring']);
});

test('what is in flight at the end is waited for and counted, but not in the rate', async () => {
  await using server = await startRaw(
    ({ id }, response) => void setTimeout(() => reply(response, { id, result: success }), 300),
  );
  const result = await runLoadTest({ target: server.url, tool: 't', concurrency: 3, durationMs: 100 });
  expect(result.successes).toBe(3);
  expect(result.requestsPerSecond).toBe(0);
});

test('an abort ends it at once with what was measured so far', async () => {
  const stop = new AbortController();
  await using server = await startRaw(({ id }, response) => {
    if ((id as number) <= 5) reply(response, { id, result: success });
    else stop.abort();
  });
  const result = await runLoadTest({
    target: server.url,
    tool: 't',
    concurrency: 1,
    durationMs: 60_000,
    signal: stop.signal,
  });
  expect(result.aborted).toBe(true);
  expect(result.total).toBe(5);
  expect(result.failures).toBe(0);
  expect(result.durationMs).toBeLessThan(60_000);
});

test('an abort wakes an open loop that waits for its next request', async () => {
  const stop = new AbortController();
  await using server = await startRaw(({ id }, response) => {
    reply(response, { id, result: success });
    setTimeout(() => stop.abort(), 20);
  });
  const result = await runLoadTest({ target: server.url, tool: 't', rate: 0.01, signal: stop.signal });
  expect(result.total).toBe(1);
  expect(result.notSent).toBe(0);
});

test('already aborted, or aborted during the handshake: the reason, and nothing is sent further', async () => {
  const reason = new Error('stop');
  await using server = await startRaw(() => {});
  await expect(runLoadTest({ target: server.url, tool: 't', signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  expect(server.messages).toEqual([]);
});

test('progress tells how it goes, and a listener that throws does not end the test', async () => {
  await using server = await startRaw(({ id }, response) => reply(response, { id, result: success }));
  const reports: LoadTestProgress[] = [];
  const result = await runLoadTest({
    target: server.url,
    tool: 't',
    concurrency: 2,
    durationMs: 300,
    progressMs: 50,
    onProgress(progress) {
      reports.push(progress);
      throw new Error('listener');
    },
  });
  expect(reports.length).toBeGreaterThan(2);
  const last = reports.at(-1) as LoadTestProgress;
  expect(last.total).toBeGreaterThan(0);
  expect(last.total).toBeLessThanOrEqual(result.total);
  expect(last.requestsPerSecond).toBeGreaterThan(0);
  expect(last.durationMs).toBe(300);
});

test('an event stream that the server leaves open does not hold its connection for ever', async () => {
  await using server = await startRaw(({ id }, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.write(`data: ${JSON.stringify({ jsonrpc: '2.0', id, result: success })}\n\n`);
  });
  const result = await runLoadTest({ target: server.url, tool: 't', concurrency: 1, durationMs: 400 });
  expect(result.successes).toBe(2);
  expect(result.failures).toBe(0);
  expect(result.latencyMs.max).toBeLessThan(240);
});
