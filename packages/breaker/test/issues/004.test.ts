import { CircuitBreaker } from '@x/breaker';
import { guardedTool } from '@x/breaker/mcp';
import { expect, test, vi } from 'vitest';

// An async listener that rejected ended the process. Signals that are none were failures of the dependency.

test('an async listener that rejects is no unhandled rejection', async () => {
  const unhandled = vi.fn();
  process.on('unhandledRejection', unhandled);
  try {
    const breaker = new CircuitBreaker();
    breaker.on('stateChange', async () => {
      throw new Error('listener');
    });
    breaker.forceOpen();
    await new Promise((resolve) => setImmediate(resolve));
    expect(breaker.state).toBe('forced-open');
    expect(unhandled).not.toHaveBeenCalled();
  } finally {
    process.off('unhandledRejection', unhandled);
  }
});

test.each(['stop', null, {}, 5])('a signal %o that is none is refused before anything runs', async (signal) => {
  const breaker = new CircuitBreaker({ failureThreshold: 1 });
  const fn = vi.fn();
  await expect(breaker.run(fn, { signal: signal as never })).rejects.toThrow(
    '@x/breaker: signal must be an AbortSignal',
  );
  expect(fn).not.toHaveBeenCalled();
  expect(breaker.stats()).toMatchObject({ state: 'closed', failures: 0 });
});

test('a tool without ctx may have an argument that is called signal', async () => {
  const tool = guardedTool(new CircuitBreaker(), async ({ signal }: { signal: string }) => signal);
  await expect(tool({ signal: 'red' })).resolves.toBe('red');
});

test('options that cannot be shown as JSON are refused by name', () => {
  const circular: Record<string, unknown> = { version: 1 };
  circular.self = circular;
  for (const initialState of [circular, { version: 1n }, '{"version":1}']) {
    expect(() => new CircuitBreaker({ initialState: initialState as never })).toThrow(
      '@x/breaker: initialState must be',
    );
  }
  expect(() => new CircuitBreaker(null as never)).toThrow('@x/breaker: options must be an object, got null');
  expect(() => new CircuitBreaker({ window: { calls: 5, ms: 5 } })).toThrow('{ ms, buckets? }, not both');
  expect(() => new CircuitBreaker({ window: { calls: 1e12 } })).toThrow('@x/breaker: window.calls must be');
  expect(() => new CircuitBreaker({ window: { ms: 5, buckets: 1e12 } })).toThrow('@x/breaker: window.buckets must be');
});
