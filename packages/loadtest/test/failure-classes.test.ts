import { createServer } from 'node:net';
import { runLoadTest } from '@x/loadtest';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';
import { networkFailure } from '../src/outcome.ts';
import { listen, reply, startRaw, success } from './mcp-servers.ts';
import { runOnStepClock } from './step-clock.ts';

const short = { tool: 't', concurrency: 2, durationMs: 150 };

type Answer = [kind: string, code: string, message: string, answer: Parameters<typeof startRaw>[0]];

const answers: Answer[] = [
  [
    'http',
    '500',
    'HTTP 500: broken inside',
    (_message, response) => void response.writeHead(500).end('broken\n  inside'),
  ],
  [
    'refused',
    'queue_full',
    'HTTP 503: The server is overloaded. Retry in 1 s.',
    (_message, response) =>
      reply(
        response,
        {
          id: null,
          error: {
            code: 503,
            message: 'The server is overloaded. Retry in 1 s.',
            data: { error: 'server_overloaded', reason: 'queue_full', retryAfterMs: 1_000 },
          },
        },
        503,
      ),
  ],
  ['refused', '429', 'HTTP 429: slow down', (_message, response) => void response.writeHead(429).end('slow down')],
  [
    'refused',
    'busy',
    'busy now',
    ({ id }, response) => reply(response, { id, error: { code: 503, message: 'busy now', data: { code: 'busy' } } }),
  ],
  [
    'jsonrpc',
    '-32602',
    'bad params',
    ({ id }, response) => reply(response, { id, error: { code: -32602, message: 'bad params' } }),
  ],
  ['protocol', 'wrong_id', '', ({ id }, response) => reply(response, { id: (id ?? 0) + 1, result: success })],
  ['protocol', 'no_result', '', ({ id }, response) => reply(response, { id })],
  [
    'protocol',
    'no_message',
    'HTTP 200 without a JSON-RPC message: hello',
    (_message, response) => void response.end('hello'),
  ],
  ['protocol', 'no_message', '', (_message, response) => void response.writeHead(202).end()],
  [
    'protocol',
    'no_message',
    '',
    (_message, response) => void response.writeHead(200, { 'Content-Type': 'text/event-stream' }).end(': nothing\n\n'),
  ],
  ...['ERR_CIRCUIT_OPEN', 'ERR_OVERLOADED', 'ERR_TIMEOUT'].map(
    (code): Answer => ['refused', code, 'come back later', toolError('come back later', { code, reason: 'why' })],
  ),
  ['tool', 'INTERNAL', 'reference 4711', toolError('reference 4711', { code: 'INTERNAL', reason: 'unknown' })],
  ['tool', 'isError', 'no such user', toolError('no such user', { reason: 'without a code' })],
  ['tool', 'isError', 'no such user', toolError('no such user', undefined)],
  ['network', 'UND_ERR_SOCKET', 'other side closed', (_message, response) => void response.socket?.destroy()],
];

/** A tool result that is an error, with or without more about it. */
function toolError(text: string, details: object | undefined): Answer[3] {
  const _meta = details && { 'x/error': details };
  return ({ id }, response) =>
    reply(response, { id, result: { isError: true, content: [{ type: 'text', text }], _meta } });
}

test.each(answers)('%s %s: %s', async (kind, code, message, call) => {
  await using server = await startRaw(call);
  const result = await runLoadTest({ target: server.url, ...short });
  const { total, successes, failures, failuresByClass } = result;
  expect(total).toBeGreaterThan(0);
  expect(successes).toBe(0);
  expect(failures).toBe(total);
  const counts = Object.fromEntries(Object.entries(failuresByClass).map(([name, { count }]) => [name, count]));
  expect(counts).toEqual({
    refused: 0,
    tool: 0,
    jsonrpc: 0,
    http: 0,
    protocol: 0,
    timeout: 0,
    network: 0,
    [kind]: total,
  });
  const summary = failuresByClass[kind as keyof typeof failuresByClass];
  expect(summary.codes).toEqual({ [code]: total });
  expect(summary.samples[0]?.message).toContain(message);
  // Failures that are no time-outs say nothing about how fast the server serves.
  expect(result.latencyMs.p99).toBeNaN();
  expect(result.failureLatencyMs.p99).toBeGreaterThan(0);
});

test('no answer in time is a time-out, and its wait is in the latency of what was asked for', async () => {
  const clock = new ManualClock();
  await using server = await startRaw(async ({ id }, response) => {
    if (id === 2) await clock.advance(60);
    else reply(response, { id, result: success });
  });
  const result = await runOnStepClock(
    { target: server.url, tool: 't', concurrency: 1, rate: 20, durationMs: 200, timeoutMs: 60 },
    clock,
  );
  expect(result).toMatchObject({ total: 4, successes: 3 });
  expect(result.failuresByClass.timeout.samples).toEqual([{ message: 'no answer within 60 ms', count: 1 }]);
  expect(result.latencyMs.max).toBe(60);
});

test('distinct texts and codes are kept to a few, and the rest is counted', async () => {
  const stop = new AbortController();
  await using server = await startRaw(({ id }, response) => {
    if (id === 31) stop.abort();
    reply(response, { id, error: { code: id, message: `failed with reference ${id}` } });
  });
  const result = await runLoadTest({ target: server.url, tool: 't', concurrency: 1, signal: stop.signal });
  const { codes, samples, count } = result.failuresByClass.jsonrpc;
  expect(count).toBe(30);
  expect(Object.keys(codes)).toHaveLength(21);
  expect(codes.other).toBe(count - 20);
  expect(samples).toHaveLength(5);
});

test('nobody there: one clear error, no million failures', async () => {
  const unused = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => unused.once('listening', resolve));
  const { port } = unused.address() as { port: number };
  await new Promise((resolve) => unused.close(resolve));
  await expect(runLoadTest({ target: `http://127.0.0.1:${port}/mcp?token=hunter2`, tool: 't' })).rejects.toMatchObject({
    code: 'ERR_TARGET_UNREACHABLE',
    message: `@x/loadtest: cannot reach http://127.0.0.1:${port}/mcp: connect ECONNREFUSED 127.0.0.1:${port}`,
  });
});

test('nobody answers: one clear error', async () => {
  await using server = await listen(() => {});
  await expect(runLoadTest({ target: server.url, tool: 't', timeoutMs: 50 })).rejects.toMatchObject({
    code: 'ERR_TARGET_UNREACHABLE',
    message: `@x/loadtest: cannot reach ${server.url}: no answer to initialize within 50 ms`,
  });
});

test('a server that does not let us in says why', async () => {
  await using server = await listen((_request, response) => void response.writeHead(401).end('who are you'));
  await expect(runLoadTest({ target: server.url, tool: 't' })).rejects.toMatchObject({
    code: 'ERR_HANDSHAKE',
    status: 401,
    message: `@x/loadtest: ${server.url} did not accept initialize: HTTP 401: who are you. Does it want a header (Authorization)?`,
  });
});

test('a target that dies under way gives a few failures, not as many as the loop can spin', async () => {
  let answered = 0;
  await using server = await startRaw(({ id }, response) => {
    if (answered++ < 10) reply(response, { id, result: success });
    else response.socket?.destroy();
  });
  const result = await runOnStepClock(
    { target: server.url, tool: 't', concurrency: 4, durationMs: 500 },
    new ManualClock(),
  );
  expect(result.successes).toBe(10);
  // 20, 40, 80, 160 and, of 320, what is left of the time: five failures for each of four.
  expect(result.failuresByClass.network.count).toBe(4 * 5);
});

test('of a host with several addresses the first says why', () => {
  const first = new Error('connect ECONNREFUSED ::1:9');
  const refused = Object.assign(new AggregateError([first, new Error('other')], ''), { code: 'ECONNREFUSED' });
  expect(networkFailure(refused)).toEqual({ class: 'network', code: 'ECONNREFUSED', message: first.message });
  expect(networkFailure(new AggregateError([], '')).message).not.toBe('');
});
