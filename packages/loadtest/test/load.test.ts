import type { ServerResponse } from 'node:http';
import { type LoadTestProgress, runLoadTest } from '@x/loadtest';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';
import { type JsonRpcRequest, reply, startRaw, success } from './mcp-servers.ts';
import { runOnStepClock } from './step-clock.ts';

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

test('the query of the target, which may hold a token, reaches the server and not the result', async () => {
  const asked: unknown[] = [];
  await using server = await startRaw(({ id }, response, request) => {
    asked.push(request.url);
    reply(response, { id, result: success });
  });
  const result = await runLoadTest({ target: `${server.url}?token=s3cret`, tool: 't', concurrency: 1, durationMs: 20 });
  expect(asked[0]).toBe('/mcp?token=s3cret');
  expect(JSON.stringify(result)).not.toContain('s3cret');
});

test('arguments are constant, take turns, or are made for the number of the call', async () => {
  let stop = new AbortController();
  let calls = 0;
  await using server = await startRaw(({ id }, response) => {
    if (++calls > 3) stop.abort();
    reply(response, { id, result: success });
  });
  const given = async (args: Parameters<typeof runLoadTest>[0]['args']) => {
    server.messages.length = 0;
    calls = 0;
    stop = new AbortController();
    await runLoadTest({ target: server.url, tool: 't', args, concurrency: 1, signal: stop.signal });
    const asked = server.messages.filter(({ method }) => method === 'tools/call');
    return asked.slice(0, 3).map(({ params }) => params.arguments);
  };
  expect(await given({ a: 1 })).toEqual([{ a: 1 }, { a: 1 }, { a: 1 }]);
  expect(await given([{ a: 1 }, { a: 2 }])).toEqual([{ a: 1 }, { a: 2 }, { a: 1 }]);
  expect(await given((seq) => ({ seq }))).toEqual([{ seq: 0 }, { seq: 1 }, { seq: 2 }]);
  expect(await given(undefined)).toEqual([{}, {}, {}]);
});

test('no more than concurrency requests are in flight, and as many are', async () => {
  const stop = new AbortController();
  const held: [JsonRpcRequest, ServerResponse][] = [];
  let most = 0;
  let rounds = 0;
  await using server = await startRaw((message, response) => {
    held.push([message, response]);
    most = Math.max(most, held.length);
    if (held.length !== 7) return;
    if (++rounds === 4) stop.abort();
    // An eighth that was sent with them would be here by then.
    setTimeout(() => {
      for (const [{ id }, waiting] of held.splice(0)) reply(waiting, { id, result: success });
    }, 20);
  });
  const result = await runLoadTest({ target: server.url, tool: 't', concurrency: 7, signal: stop.signal });
  expect(most).toBe(7);
  expect(result.successes).toBe(21);
  expect(result.failures).toBe(0);
});

test('an open loop sends at its rate, and what the server delays counts from when it was due', async () => {
  const clock = new ManualClock();
  await using server = await startRaw(async ({ id }, response) => {
    if (id === 1) await clock.advance(300);
    reply(response, { id, result: success });
  });
  // One connection: those that fall due at 100 and 200 wait behind the slow one, in a closed loop a single slow request.
  const result = await runOnStepClock(
    { target: server.url, tool: 't', concurrency: 1, rate: 10, durationMs: 600 },
    clock,
  );
  expect(result).toMatchObject({ total: 6, successes: 6, notSent: 0 });
  expect(result.latencyMs).toMatchObject({ min: 0, mean: (300 + 200 + 100) / 6, max: 300 });
  expect(result.latencyMs.p50).toBe(0);
  expect(result.latencyMs.p90).toBeCloseTo(300, 0);
});

test('requests that never found a free connection are said', async () => {
  const clock = new ManualClock();
  await using server = await startRaw(async ({ id }, response) => {
    await clock.advance(100);
    reply(response, { id, result: success });
  });
  const result = await runOnStepClock(
    { target: server.url, tool: 't', concurrency: 1, rate: 100, durationMs: 350 },
    clock,
  );
  expect(result).toMatchObject({ rate: 100, total: 4, notSent: 31 });
});

test('requests that were not due yet when it was aborted are not missed', async () => {
  const clock = new ManualClock();
  const stop = new AbortController();
  await using server = await startRaw(async ({ id }, response) => {
    await clock.advance(100);
    if (id === 3) stop.abort();
    else reply(response, { id, result: success });
  });
  const result = await runOnStepClock(
    { target: server.url, tool: 't', concurrency: 1, rate: 100, durationMs: 60_000, signal: stop.signal },
    clock,
  );
  expect(result).toMatchObject({ aborted: true, durationMs: 300, total: 2, notSent: 27 });
});

test('the warm-up is not counted', async () => {
  let calls = 0;
  await using server = await startRaw(({ id }, response) => {
    calls++;
    reply(response, { id, result: success });
  });
  const phases: string[] = [];
  const result = await runOnStepClock(
    {
      target: server.url,
      tool: 't',
      concurrency: 1,
      rate: 50,
      warmupMs: 400,
      durationMs: 200,
      progressMs: 150,
      onProgress: ({ phase }) => phases.push(phase),
    },
    new ManualClock(),
  );
  expect(calls).toBe(30);
  expect(result.total).toBe(10);
  expect(result.durationMs).toBe(200);
  expect(phases).toEqual(['warmup', 'warmup', 'measuring']);
});

test('what is in flight at the end is waited for and counted, but not in the rate', async () => {
  const clock = new ManualClock();
  const held: [JsonRpcRequest, ServerResponse][] = [];
  await using server = await startRaw(async (message, response) => {
    held.push([message, response]);
    if (held.length < 3) return;
    await clock.advance(300);
    for (const [{ id }, waiting] of held) reply(waiting, { id, result: success });
  });
  const result = await runOnStepClock({ target: server.url, tool: 't', concurrency: 3, durationMs: 100 }, clock);
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
  await using server = await startRaw(({ id }, response) => reply(response, { id, result: success }));
  const result = await runLoadTest({
    target: server.url,
    tool: 't',
    rate: 0.01,
    signal: stop.signal,
    progressMs: 10,
    onProgress: ({ total }) => {
      if (total === 1) stop.abort();
    },
  });
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
  const result = await runOnStepClock(
    {
      target: server.url,
      tool: 't',
      concurrency: 2,
      rate: 100,
      durationMs: 400,
      progressMs: 98,
      onProgress(progress) {
        reports.push(progress);
        throw new Error('listener');
      },
    },
    new ManualClock(),
  );
  expect(reports.map(({ total }) => total)).toEqual([10, 20, 30]);
  expect(reports.at(-1)).toMatchObject({ phase: 'measuring', elapsedMs: 294, durationMs: 400, successes: 30 });
  // Since the report before, and nothing that has ended is in flight for ever.
  for (const { requestsPerSecond, inFlight } of reports) {
    expect(requestsPerSecond).toBeCloseTo(10_000 / 98);
    expect(inFlight).toBe(0);
  }
  expect(result.total).toBe(40);
});

test('an event stream that the server leaves open does not hold its connection for ever', async () => {
  await using server = await startRaw(({ id }, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.write(`data: ${JSON.stringify({ jsonrpc: '2.0', id, result: success })}\n\n`);
  });
  const result = await runOnStepClock(
    { target: server.url, tool: 't', concurrency: 1, durationMs: 400 },
    new ManualClock(),
  );
  expect(result.successes).toBe(2);
  expect(result.failures).toBe(0);
  // The answer was there long before its stream was ended.
  expect(result.latencyMs.max).toBe(0);
});

test('what a server asks in an event stream is not its answer, and an answer stands where the stream breaks after it', async () => {
  await using server = await startRaw(({ id }, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.write(`data: ${JSON.stringify({ jsonrpc: '2.0', id, method: 'ping' })}\n\n`);
    response.write(`data: ${JSON.stringify({ jsonrpc: '2.0', id, result: success })}\n\n`, () => response.destroy());
  });
  const result = await runLoadTest({ target: server.url, tool: 't', concurrency: 1, durationMs: 50 });
  expect(result.successes).toBeGreaterThan(0);
  expect(result.failures).toBe(0);
});
