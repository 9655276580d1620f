import { CircuitBreaker, type Classify } from '@x/breaker';
import { guardedTool } from '@x/breaker/mcp';
import { describe, expect, test } from 'vitest';

// What a classifier returned was not looked at: `undefined` and anything unknown was a failure, `null` a TypeError of its own.

const returning = (verdict: unknown) =>
  new CircuitBreaker({ failureThreshold: 1, classify: (() => verdict) as unknown as Classify });

describe('a classifier', () => {
  test('that says nothing leaves the outcome to the default', async () => {
    const breaker = returning(undefined);
    await expect(breaker.run(() => 42)).resolves.toBe(42);
    expect(breaker.stats()).toMatchObject({ successes: 1, failures: 0 });
    await expect(breaker.run(() => Promise.reject('boom'))).rejects.toBe('boom');
    expect(breaker.state).toBe('open');
  });

  test('that says nothing leaves an error of a tool to the default of tools', async () => {
    const tool = guardedTool(returning(undefined), async () => {
      throw Object.assign(new Error('bad arguments'), { code: -32_602 });
    });
    for (let n = 0; n < 3; n += 1) await expect(tool()).rejects.toThrow('bad arguments');
  });

  test.each([null, true, 'fail', {}, { failure: false }, { retryAfterMs: 5 }, Promise.resolve('success')])(
    'that answers %o counts for nothing, and is told so',
    async (verdict) => {
      const breaker = returning(verdict);
      const call = breaker.run(() => 42);
      // `null` says as little as `undefined`.
      if (verdict === null) await expect(call).resolves.toBe(42);
      else await expect(call).rejects.toThrow('@x/breaker: what classify returns must be');
      expect(breaker.stats()).toMatchObject({ state: 'closed', failures: 0, ignored: verdict === null ? 0 : 1 });
    },
  );

  test.each([Number.NaN, -5, 0])('that asks for a pause of %d ms reports an ordinary failure', async (retryAfterMs) => {
    const breaker = new CircuitBreaker({ failureThreshold: 2, classify: () => ({ failure: true, retryAfterMs }) });
    await breaker.run(() => 1);
    expect(breaker.state).toBe('closed');
    await breaker.run(() => 1);
    expect(breaker.retryAfterMs).toBeGreaterThan(50_000);
  });
});
