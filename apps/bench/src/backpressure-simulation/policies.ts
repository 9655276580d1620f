import {
  AimdLimit,
  ConcurrencyLimiter,
  type ConcurrencyLimiterOptions,
  GradientLimit,
  KneeLimit,
  VegasLimit,
} from '@x/backpressure';
import type { Admission, simulateOverload } from '@x/testkit';
import { coDel } from './codel.ts';
import { Gradient2 } from './gradient2.ts';

export type Policy = Parameters<typeof simulateOverload>[0];

const forEver = { queueTimeoutMs: Number.POSITIVE_INFINITY };

/** A limiter of this package; with `deadline` it is told of each call's deadline and priority, as a server would be. */
function limiter(options: () => ConcurrencyLimiterOptions, deadline: 'deadline' | 'blind'): Policy {
  return (surroundings): Admission => {
    const made = new ConcurrencyLimiter({ ...options(), ...surroundings });
    return deadline === 'deadline' ? (work, call) => made.run(work, call) : (work) => made.run(work);
  };
}

/** What is to be beaten, and ours. "Knows W": is told the number of workers, which no real server knows. */
export const policies: Readonly<Record<string, Policy>> = {
  'unbounded FIFO, knows W': limiter(() => ({ limit: 10, maxQueue: Number.POSITIVE_INFINITY, ...forEver }), 'blind'),
  'FIFO of 1,000, knows W': limiter(() => ({ limit: 10, maxQueue: 1_000, ...forEver }), 'blind'),
  'bulkhead 10 + 10, knows W': limiter(() => ({ limit: 10, maxQueue: 10 }), 'blind'),
  'CoDel, knows W': coDel(10),
  'Gradient2, no queue': limiter(() => ({ limit: new Gradient2(), maxQueue: 0 }), 'blind'),
  'Vegas 1 s, no queue': limiter(() => ({ limit: new VegasLimit({ windowMs: 1_000 }), maxQueue: 0 }), 'blind'),
  'AIMD 5 s, no queue': limiter(() => ({ limit: new AimdLimit({ slowMs: 5_000 }), maxQueue: 0 }), 'blind'),
  'AIMD 50 ms, no queue': limiter(() => ({ limit: new AimdLimit({ slowMs: 50 }), maxQueue: 0 }), 'blind'),
  'Gradient 100 ms, our queue': limiter(() => ({ limit: new GradientLimit() }), 'deadline'),
  'Vegas 100 ms, our queue': limiter(() => ({ limit: new VegasLimit() }), 'deadline'),
  'ours (KneeLimit, defaults)': limiter(() => ({ limit: new KneeLimit() }), 'deadline'),
};

export const ours = 'ours (KneeLimit, defaults)';

/**
 * The best there is to have: our queue under a limit that is the number of workers. That number is all it knows beforehand: not how long a
 * call will take, nor that the service became slower, which it sees, as ours does, from the calls that have ended.
 */
export function oracle(workers: number): Policy {
  return fixedLimit(workers);
}

/** Our queue under a limit that does not change. */
export function fixedLimit(limit: number): Policy {
  return limiter(() => ({ limit, order: 'adaptive' }), 'deadline');
}
