import { runLoadTest } from '@x/loadtest';
import { expect, test } from 'vitest';
import { EventStreamParser } from '../../src/sse.ts';
import { type JsonRpcRequest, listen, reply, startRaw, success } from '../mcp-servers.ts';

// What a server answers could cost the generator its memory or minutes of its time, and reach the terminal as it was.

const short = { tool: 't', concurrency: 1, durationMs: 100 };

test('a body without end is cut off, and counts as no answer', async () => {
  const chunk = Buffer.alloc(4 << 20, 'x');
  await using server = await startRaw((_message, response) => {
    response.writeHead(200, { 'Content-Type': 'application/json' });
    const write = (): void => {
      while (!response.destroyed && response.write(chunk));
      if (!response.destroyed) response.once('drain', write);
    };
    write();
  });
  const { total, failuresByClass } = await runLoadTest({ target: server.url, ...short });
  expect(total).toBeGreaterThan(0);
  expect(failuresByClass.protocol).toEqual({
    count: total,
    codes: { too_long: total },
    samples: [{ message: 'more than 67108864 bytes', count: total }],
  });
});

test('a long line of an event stream is looked at once, however many chunks it comes in', () => {
  const events: string[] = [];
  const parser = new EventStreamParser((data) => events.push(data));
  const chunk = new Uint8Array(8_192).fill(120);
  parser.push(new TextEncoder().encode('data:'));
  for (let index = 0; index < 8_192; index++) parser.push(chunk);
  parser.push(new TextEncoder().encode('\n\n'));
  expect(events.map((data) => data.length)).toEqual([8_192 * 8_192]);
});

test('codes and texts of a server are one short line, without what a terminal obeys', async () => {
  const codes = ['__proto__', 'constructor', '\u001b[2Jgone', 'x'.repeat(1_000)];
  const stop = new AbortController();
  await using server = await startRaw(({ id }: JsonRpcRequest, response) => {
    const seq = (id as number) - 1;
    if (seq === 8) stop.abort();
    const message = `\u001b]0;title\u0007${'y'.repeat(5_000)}`;
    reply(response, { id, error: { code: 503, message, data: { code: codes[seq % 4] } } });
  });
  const { failuresByClass } = await runLoadTest({
    target: server.url,
    ...short,
    durationMs: 60_000,
    signal: stop.signal,
  });
  const { codes: counted, samples } = failuresByClass.refused;
  expect(Object.entries(counted)).toEqual([
    ['__proto__', 2],
    ['constructor', 2],
    ['[2Jgone', 2],
    [`${'x'.repeat(63)}…`, 2],
  ]);
  expect(samples).toEqual([{ message: `]0;title ${'y'.repeat(190)}…`, count: 8 }]);
});

test('nor does a handshake that is refused half-way let a server write to the terminal', async () => {
  await using server = await listen(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const { id } = JSON.parse(body) as JsonRpcRequest;
    if (id === undefined) response.writeHead(500).end('\u001b[2Jbroken');
    else reply(response, { id, result: {} });
  });
  await expect(runLoadTest({ target: server.url, ...short })).rejects.toMatchObject({
    code: 'ERR_HANDSHAKE',
    status: 500,
    message: `@x/loadtest: ${server.url} did not accept initialize: HTTP 500: [2Jbroken`,
  });
});

test('the type of an event stream may be written in capitals', async () => {
  await using server = await startRaw(({ id }, response) => {
    response.writeHead(200, { 'Content-Type': 'Text/Event-Stream' });
    response.end(`data: ${JSON.stringify({ jsonrpc: '2.0', id, result: success })}\n\n`);
  });
  expect(await runLoadTest({ target: server.url, ...short })).toMatchObject({ failures: 0 });
});
