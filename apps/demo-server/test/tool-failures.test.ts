import { expect, test } from 'vitest';
import { createLogger } from '../src/logger.ts';
import { explainErrors } from '../src/tool-failures.ts';
import { errorOf, text } from './demo.ts';

/** What a caller is told of `error`, and what is logged. */
async function told(error: unknown) {
  const logged: any[] = [];
  const note = (entry: unknown) => logged.push(entry);
  const logger = Object.assign(createLogger('silent'), { warn: note, error: note });
  const ctx = { signal: new AbortController().signal } as any;
  const result = await explainErrors('get_user', 'the database', logger, () => Promise.reject(error))({}, ctx);
  expect(result.isError).toBe(true);
  return { result, logged, details: errorOf(result) };
}

test('of an error that nobody expected the caller learns an id and no more, and the log has both', async () => {
  const error = new Error('relation "salaries" of hunter2');
  const { result, logged, details } = await told(error);
  expect(details).toEqual({ code: 'ERR_INTERNAL', reason: logged[0].errorId });
  expect(text(result)).toContain(logged[0].errorId);
  expect(JSON.stringify(result)).not.toMatch(/salaries|hunter2/);
  expect(logged).toEqual([{ tool: 'get_user', errorId: expect.stringMatching(/^[\da-f-]{36}$/), err: error }]);
});

test('of a failure that was expected the caller learns how long to wait: what the error says, or else what helps mostly', async () => {
  const asked = await told(Object.assign(new Error('hunter2'), { code: 'ERR_OVERLOADED', retryAfterMs: 7_500 }));
  expect(asked.details).toEqual({ code: 'ERR_OVERLOADED', retryAfterMs: 7_500 });
  expect(text(asked.result)).toMatch(/the database.*Try again in 8 s/);
  expect(JSON.stringify(asked.result)).not.toContain('hunter2');
  const silent = await told(Object.assign(new Error('x'), { code: '57P01' }));
  expect(silent.details).toEqual({ code: '57P01', retryAfterMs: 3_000 });
});

test('whose changes may have been saved is not told to send them again', async () => {
  const { result, details } = await told(
    Object.assign(new Error('x'), { code: 'ERR_COMMIT_UNKNOWN', retryAfterMs: 5 }),
  );
  expect(details).toEqual({ code: 'ERR_COMMIT_UNKNOWN' });
  expect(text(result)).not.toContain('Try again');
});
