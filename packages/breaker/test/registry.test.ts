import { BreakerRegistry, CircuitBreaker } from '@x/breaker';
import { ManualClock } from '@x/testkit';
import { describe, expect, it } from 'vitest';

function setUp(options: { max?: number; idleMs?: number } = {}) {
  const clock = new ManualClock();
  const registry = new BreakerRegistry({
    create: (name) => new CircuitBreaker({ name, failureThreshold: 1, recoveryTimeoutMs: 1_000, clock }),
    clock,
    ...options,
  });
  const open = (key: string) => registry.get(key).tryAcquire()?.failure(1);
  const keys = () => [...registry].map(([key]) => key);
  return { clock, registry, open, keys };
}

describe('BreakerRegistry', () => {
  it('gives the same breaker for the same key', () => {
    const { registry } = setUp();
    expect(registry.get('a')).toBe(registry.get('a'));
    expect(registry.get('a').name).toBe('a');
    expect(registry.get('b')).not.toBe(registry.get('a'));
  });

  it('is bounded: the longest unused closed breaker is forgotten first, never an open one', () => {
    const { registry, open, keys } = setUp({ max: 3 });
    open('sick');
    for (const key of ['a', 'b', 'a', 'c', 'd']) registry.get(key);
    expect(keys()).toEqual(['sick', 'c', 'd']);
    expect(registry.get('sick').state).toBe('open');
  });

  it('keeps no further one where all are open or forced, and never grows beyond max', () => {
    const { registry, open, keys } = setUp({ max: 2 });
    open('a');
    registry.get('b').forceClosed();
    const extra = registry.get('c');
    expect(extra.state).toBe('closed');
    expect(registry.size).toBe(2);
    expect(keys()).toEqual(['a', 'b']);
    expect(registry.delete('a')).toBe(true);
    registry.get('c');
    expect(keys()).toEqual(['b', 'c']);
  });

  it('forgets what nobody has asked for, also a circuit whose probe is long overdue', async () => {
    const { registry, open, keys, clock } = setUp({ idleMs: 60_000 });
    registry.get('idle');
    open('dead host');
    registry.get('held').forceOpen();
    await clock.advance(30_000);
    registry.get('used');
    await clock.advance(30_000);
    registry.get('new');
    expect(keys().sort()).toEqual(['held', 'new', 'used']);
  });

  it('keeps those that are open however long nobody has asked for them', async () => {
    const clock = new ManualClock();
    const create = () => {
      const breaker = new CircuitBreaker();
      breaker.forceOpen();
      return breaker;
    };
    const registry = new BreakerRegistry({ create, idleMs: 1_000, clock });
    for (let i = 0; i < 10; i += 1) registry.get(`key ${i}`);
    await clock.advance(2_000);
    registry.get('another');
    expect(registry.size).toBe(11);
  });

  it('refuses wrong options', () => {
    expect(() => new BreakerRegistry({ create: undefined as never })).toThrow('@x/breaker: create must be a function');
    expect(() => setUp({ max: 0 })).toThrow('max');
    expect(() => setUp({ idleMs: 0 })).toThrow('idleMs');
  });
});
