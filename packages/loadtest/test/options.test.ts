import { type LoadTestOptions, runLoadTest } from '@x/loadtest';
import { expect, test } from 'vitest';
import { listen } from './mcp-servers.ts';

const wrong: [Partial<LoadTestOptions>, string][] = [
  [{ target: 'localhost:3000' }, 'target must be an http or https URL, got "localhost:3000"'],
  [{ target: 'nonsense' }, 'target must be an http or https URL, got "nonsense"'],
  [{ target: 'http://me:hunter2@localhost/' }, 'target must not carry credentials; put them into headers'],
  [{ tool: '' }, 'tool must be the name of a tool, got ""'],
  [{ args: [] }, 'args must be an object, a list of objects that is not empty, or a function, got []'],
  [{ args: 'x' as never }, 'args must be an object, a list of objects that is not empty, or a function, got "x"'],
  [{ headers: { 'a b': 'hunter2' } }, 'headers must be names and values that HTTP allows'],
  [{ headers: null as never }, 'headers must be names and values that HTTP allows'],
  [{ headers: 'x' as never }, 'headers must be names and values that HTTP allows'],
  [{ args: null as never }, 'args must be an object, a list of objects that is not empty, or a function, got null'],
  [{ concurrency: '5' as never }, 'concurrency must be an integer >= 1, got "5"'],
  [{ durationMs: null as never }, 'durationMs must be a number > 0, got null'],
  [{ rate: null as never }, 'rate must be a number > 0, got null'],
  [{ signal: null as never }, 'signal must be an object with addEventListener(), throwIfAborted(), got null'],
  [{ onProgress: null as never }, 'onProgress must be a function, got null'],
  [{ clock: null as never }, 'clock must be an object with now(), setTimeout(), clearTimeout(), got null'],
  [{ concurrency: 0 }, 'concurrency must be an integer >= 1, got 0'],
  [{ concurrency: 1.5 }, 'concurrency must be an integer >= 1, got 1.5'],
  [{ durationMs: 0 }, 'durationMs must be a number > 0, got 0'],
  [{ durationMs: Infinity }, 'durationMs must be a number > 0, got Infinity'],
  [{ rate: 0 }, 'rate must be a number > 0, got 0'],
  [{ warmupMs: -1 }, 'warmupMs must be a number >= 0, got -1'],
  [{ timeoutMs: Number.NaN }, 'timeoutMs must be a number > 0 and <= 2147483647, got NaN'],
  [{ timeoutMs: 2 ** 31 }, 'timeoutMs must be a number > 0 and <= 2147483647, got 2147483648'],
  [{ sessions: 0 }, 'sessions must be an integer >= 1, got 0'],
  [{ progressMs: 0 }, 'progressMs must be a number > 0 and <= 2147483647, got 0'],
];

test.each(wrong)('%j is refused', async (options, message) => {
  await expect(runLoadTest({ target: 'http://127.0.0.1:1/', tool: 't', ...options })).rejects.toThrow(
    `@x/loadtest: ${message}`,
  );
});

test('headers may come as a Headers object', async () => {
  const headers: string[] = [];
  await using server = await listen((request, response) => {
    headers.push(String(request.headers.authorization));
    response.writeHead(401).end();
  });
  const options = { target: server.url, tool: 't', headers: new Headers({ Authorization: 'Bearer x' }) as never };
  await expect(runLoadTest(options)).rejects.toMatchObject({ code: 'ERR_HANDSHAKE' });
  expect(headers).toEqual(['Bearer x']);
});
