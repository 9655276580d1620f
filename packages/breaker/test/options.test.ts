import { BreakerRegistry, CircuitBreaker } from '@x/breaker';
import { guardedTool } from '@x/breaker/mcp';
import { describe, expect, it } from 'vitest';

describe('only undefined counts as absent', () => {
  it.each([
    [{ name: null }, 'name must be a string, got null'],
    [{ failureThreshold: '5' }, "failureThreshold must be an integer >= 1, got '5'"],
    [{ failureThreshold: null }, 'failureThreshold must be an integer >= 1, got null'],
    [{ window: null }, 'window must be { calls } or { ms, buckets? }, got null'],
    [{ window: 10 }, 'window must be { calls } or { ms, buckets? }, got 10'],
    [{ window: { calls: 5 }, failureRate: '0.5' }, "failureRate must be a number > 0 and <= 1, got '0.5'"],
    [{ window: { calls: 5 }, slowCall: null }, 'slowCall must be { ms, rate }, got null'],
    [{ recoveryBackoff: null }, 'recoveryBackoff must be { factor, maxMs, jitter? }, got null'],
    [
      { recoveryBackoff: { factor: 2, maxMs: 120_000, jitter: '1' } },
      "recoveryBackoff.jitter must be a number from 0 to 1, got '1'",
    ],
    [{ recoveryTimeoutMs: null }, 'recoveryTimeoutMs must be a finite number of milliseconds > 0, got null'],
    [{ halfOpenCalls: '1' }, "halfOpenCalls must be an integer >= 1, got '1'"],
    [{ probeLeaseMs: null }, 'probeLeaseMs must be a finite number of milliseconds > 0, got null'],
    [{ admit: null }, 'admit must be a function, got null'],
    [{ classify: null }, 'classify must be a function, got null'],
    [{ random: null }, 'random must be a function, got null'],
    [{ initialState: null }, 'initialState must be what toJSON() gave (version 1), got null'],
    [{ stackTraces: 'no' }, "stackTraces must be true or false, got 'no'"],
    [{ clock: null }, 'clock must be an object with now(), got null'],
  ])('a CircuitBreaker refuses %j', (options, message) => {
    expect(() => new CircuitBreaker(options as never)).toThrow(`@x/breaker: ${message}`);
  });

  it('a CircuitBreaker takes undefined for every option', () => {
    const names = 'name failureThreshold window failureRate minimumCalls slowCall recoveryTimeoutMs recoveryBackoff';
    const more = 'maxRetryAfterMs halfOpenCalls probeLeaseMs admit classify initialState stackTraces clock random';
    const options = Object.fromEntries(`${names} ${more}`.split(' ').map((name) => [name, undefined]));
    expect(new CircuitBreaker(options).state).toBe('closed');
  });

  it.each([
    [{ create: null }, 'create must be a function, got null'],
    [{ max: '5' }, "max must be an integer >= 1, got '5'"],
    [{ idleMs: null }, 'idleMs must be a finite number of milliseconds > 0, got null'],
    [{ clock: null }, 'clock must be an object with now(), got null'],
  ])('a BreakerRegistry refuses %j', (options, message) => {
    const make = () => new BreakerRegistry({ create: () => new CircuitBreaker(), ...options } as never);
    expect(make).toThrow(`@x/breaker: ${message}`);
  });

  it.each([
    [{ name: null }, 'name must be a string, got null'],
    [{ classify: null }, 'classify must be a function, got null'],
  ])('guardedTool refuses %j', (options, message) => {
    expect(() => guardedTool(new CircuitBreaker(), async () => ({}), options as never)).toThrow(
      `@x/breaker: ${message}`,
    );
  });

  it('guardedTool refuses what is no breaker or no handler', () => {
    expect(() => guardedTool({} as never, async () => ({}))).toThrow(
      '@x/breaker: breaker must be an object with run()',
    );
    expect(() => guardedTool(new CircuitBreaker(), {} as never)).toThrow('@x/breaker: handler must be a function');
  });
});
