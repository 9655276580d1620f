import { type BreakerState, CircuitBreaker, type CircuitBreakerOptions } from '@x/breaker';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
import { expect, it } from 'vitest';

const THRESHOLD = 3;
const RECOVERY_MS = 100;
const LEASE_MS = 60;
const SLOW_MS = 50;
const BUCKETS = 5;

/** Which rules a breaker has. */
interface Rules {
  threshold?: number;
  calls?: number;
  ms?: number;
  minimum: number;
  rate: number;
  slowRate?: number;
  probes: number;
}

const consecutive: Rules = { threshold: THRESHOLD, minimum: 1, rate: 2, probes: 2 };
const RULES: Record<string, Rules> = {
  'failures in a row': consecutive,
  'a count window': { calls: 6, minimum: 3, rate: 0.5, probes: 3 },
  'a time window': { ms: 200, minimum: 3, rate: 0.4, probes: 4 },
  'slow calls in a count window': { calls: 5, minimum: 2, rate: 1, slowRate: 0.5, probes: 3 },
  'all rules at once, over a time window': { threshold: 4, ms: 300, minimum: 4, rate: 0.7, slowRate: 0.6, probes: 2 },
};

function optionsOf({ threshold, calls, ms, minimum, rate, slowRate, probes }: Rules): CircuitBreakerOptions {
  const common = { failureThreshold: threshold, halfOpenCalls: probes };
  if (calls === undefined && ms === undefined) return common;
  return {
    ...common,
    window: calls === undefined ? { ms: ms ?? 0, buckets: BUCKETS } : { calls },
    minimumCalls: minimum,
    failureRate: rate,
    slowCall: slowRate === undefined ? undefined : { ms: SLOW_MS, rate: slowRate },
  };
}

interface Seen {
  failed: boolean;
  slow: boolean;
  at: number;
}

/** A call that is under way: on both sides, the breaker's and the model's. */
interface Call {
  epoch: number;
  leaseUntil: number;
  startedAt: number;
  settle(how: 'ok' | 'fail' | 'ignore' | 'abort'): Promise<void>;
}

/** The breaker as one would write it down: no care for speed, every rule spelt out. */
class Model {
  state: BreakerState = 'closed';
  epoch = 0;
  now = 0;
  readonly rules: Rules;
  /** All outcomes since the state was entered. */
  seenOutcomes: Seen[] = [];
  openUntil = 0;
  probesOut: Call[] = [];
  counts = { successes: 0, failures: 0, ignored: 0, rejected: 0, late: 0, permitsLost: 0, transitions: 0 };

  constructor(rules: Rules) {
    this.rules = rules;
  }

  get trips(): boolean {
    const { threshold, calls, ms, minimum, rate, slowRate = 2 } = this.rules;
    const last = (count: number) => this.seenOutcomes.slice(-count);
    if (threshold !== undefined && this.seenOutcomes.length >= threshold && last(threshold).every((one) => one.failed))
      return true;
    const bucketOf = (time: number) => Math.floor(time / ((ms ?? 1) / BUCKETS));
    const inTime = ({ at }: Seen) => bucketOf(at) > bucketOf(this.now) - BUCKETS;
    const window = calls !== undefined ? last(calls) : ms !== undefined ? this.seenOutcomes.filter(inTime) : [];
    return window.length >= minimum && shareReached(window, window.length, rate, slowRate);
  }

  enter(state: BreakerState): void {
    if (this.state !== state) this.counts.transitions += 1;
    this.state = state;
    this.epoch += 1;
    this.seenOutcomes = [];
    this.probesOut = [];
    if (state === 'open') this.openUntil = this.now + RECOVERY_MS;
  }

  get seen(): BreakerState {
    return this.state === 'open' && this.now >= this.openUntil ? 'half-open' : this.state;
  }

  expire(): void {
    const lost = this.probesOut.filter((call) => call.leaseUntil <= this.now);
    this.counts.permitsLost += lost.length;
    this.probesOut = this.probesOut.filter((call) => call.leaseUntil > this.now);
  }

  admits(): boolean {
    if (this.seen === 'half-open' && this.state === 'open') this.enter('half-open');
    if (this.state === 'half-open') {
      if (this.seenOutcomes.length + this.probesOut.length >= this.rules.probes) this.expire();
      if (this.seenOutcomes.length + this.probesOut.length < this.rules.probes) return true;
    } else if (this.state !== 'open' && this.state !== 'forced-open') {
      return true;
    }
    this.counts.rejected += 1;
    return false;
  }

  settled(call: Call, how: 'ok' | 'fail' | 'ignore' | 'abort'): void {
    if (this.state === 'half-open' && call.epoch === this.epoch) this.expire();
    const lost = this.state === 'half-open' && !this.probesOut.includes(call);
    if (call.epoch !== this.epoch || lost) {
      this.counts.late += 1;
      return;
    }
    this.probesOut = this.probesOut.filter((other) => other !== call);
    if (how === 'ignore' || how === 'abort') {
      this.counts.ignored += 1;
      return;
    }
    this.counts[how === 'ok' ? 'successes' : 'failures'] += 1;
    if (this.state === 'forced-closed') return;
    this.seenOutcomes.push({ failed: how === 'fail', slow: this.now - call.startedAt >= SLOW_MS, at: this.now });
    if (this.state === 'closed') {
      if (this.trips) this.enter('open');
    } else {
      const { threshold, rate, slowRate = 2, probes } = this.rules;
      if (shareReached(this.seenOutcomes, probes, threshold === undefined ? rate : 0, slowRate)) this.enter('open');
      else if (this.seenOutcomes.length === probes) this.enter('closed');
    }
  }
}

function shareReached(outcomes: Seen[], of: number, rate: number, slowRate: number): boolean {
  const failed = outcomes.filter((one) => one.failed).length;
  const slow = outcomes.filter((one) => one.slow).length;
  return (failed > 0 && failed / of >= rate) || (slow > 0 && slow / of >= slowRate);
}

class Real {
  readonly clock: ManualClock = new ManualClock({ now: 0 });
  readonly breaker: CircuitBreaker;
  readonly calls: Call[] = [];

  constructor(rules: Rules) {
    this.breaker = new CircuitBreaker({
      ...optionsOf(rules),
      recoveryTimeoutMs: RECOVERY_MS,
      probeLeaseMs: LEASE_MS,
      clock: this.clock,
      classify: (outcome) => ('value' in outcome ? 'success' : outcome.error === 'ignore' ? 'ignore' : 'failure'),
    });
  }

  check(model: Model): void {
    const { state, retryAfterMs: _, openedAt: __, ...counts } = this.breaker.stats();
    expect({ state, counts }).toEqual({ state: model.seen, counts: model.counts });
    if (model.state === 'open') expect(this.breaker.retryAfterMs).toBe(Math.max(0, model.openUntil - model.now));
  }
}

type Step = fc.AsyncCommand<Model, Real>;

class Begin implements Step {
  readonly how: 'run' | 'permit';
  constructor(how: 'run' | 'permit') {
    this.how = how;
  }
  check = () => true;
  async run(model: Model, real: Real): Promise<void> {
    const admitted = model.admits();
    const call = this.how === 'run' ? await byRun(real) : byPermit(real);
    expect(call !== undefined).toBe(admitted);
    if (call !== undefined) {
      call.epoch = model.epoch;
      call.leaseUntil = model.now + LEASE_MS;
      call.startedAt = model.now;
      real.calls.push(call);
      if (model.state === 'half-open') model.probesOut.push(call);
    }
    real.check(model);
  }
  toString = () => `begin by ${this.how}`;
}

class End implements Step {
  readonly which: number;
  readonly how: 'ok' | 'fail' | 'ignore' | 'abort';
  constructor(which: number, how: 'ok' | 'fail' | 'ignore' | 'abort') {
    this.which = which;
    this.how = how;
  }
  check = () => true;
  async run(model: Model, real: Real): Promise<void> {
    const [call] = real.calls.splice(this.which % Math.max(1, real.calls.length), 1);
    if (call === undefined) return;
    model.settled(call, this.how);
    await call.settle(this.how);
    real.check(model);
  }
  toString = () => `end ${this.which}: ${this.how}`;
}

class Wait implements Step {
  readonly ms: number;
  constructor(ms: number) {
    this.ms = ms;
  }
  check = () => true;
  async run(model: Model, real: Real): Promise<void> {
    real.clock.jump(this.ms);
    real.clock.stepWall(-7 * this.ms);
    model.now += this.ms;
    real.check(model);
  }
  toString = () => `wait ${this.ms}`;
}

class Force implements Step {
  readonly to: 'forceOpen' | 'forceClosed' | 'reset';
  constructor(to: 'forceOpen' | 'forceClosed' | 'reset') {
    this.to = to;
  }
  check = () => true;
  async run(model: Model, real: Real): Promise<void> {
    real.breaker[this.to]();
    const state = this.to === 'forceOpen' ? 'forced-open' : this.to === 'forceClosed' ? 'forced-closed' : 'closed';
    if (this.to === 'reset' || model.state !== state) model.enter(state);
    real.check(model);
  }
  toString = () => this.to;
}

it.each(Object.entries(RULES))(
  'with %s, behaves as its model under any interleaving of calls, late results, aborts, clock steps and forced states',
  async (_name, rules) => {
    const how = fc.constantFrom('ok', 'fail', 'fail', 'ignore', 'abort' as const);
    const steps = [
      fc.constantFrom<'run' | 'permit'>('run', 'permit').map((by) => new Begin(by)),
      fc.tuple(fc.nat(5), how).map(([which, as]) => new End(which, as as 'ok')),
      fc.constantFrom(1, 59, 60, 100, 250).map((ms) => new Wait(ms)),
      fc.tuple(fc.nat(5), how).map(([which, as]) => new End(which, as as 'ok')),
      fc.constantFrom<'run' | 'permit'>('run', 'permit').map((by) => new Begin(by)),
    ];
    const rare = fc
      .constantFrom<'forceOpen' | 'forceClosed' | 'reset'>('forceOpen', 'forceClosed', 'reset')
      .map((to) => new Force(to));
    const commands = fc.commands([...steps, ...steps, ...steps, rare], { maxCommands: 120, size: 'max' });
    await fc.assert(
      fc.asyncProperty(commands, (all) =>
        fc.asyncModelRun(() => ({ model: new Model(rules), real: new Real(rules) }), all),
      ),
      { numRuns: 200 },
    );
  },
);

async function byRun(real: Real): Promise<Call | undefined> {
  const controller = new AbortController();
  let end: ((how: 'ok' | 'fail' | 'ignore') => void) | undefined;
  const call = real.breaker.run(
    () =>
      new Promise((resolve, reject) => {
        end = (how) => (how === 'ok' ? resolve(how) : reject(how));
      }),
    { signal: controller.signal },
  );
  const settled = call.then(
    () => undefined,
    (error) => error,
  );
  if (end === undefined) {
    expect(await settled).toMatchObject({ code: 'ERR_CIRCUIT_OPEN' });
    return undefined;
  }
  const finish = end;
  return {
    epoch: 0,
    leaseUntil: 0,
    startedAt: 0,
    async settle(how) {
      if (how === 'abort') controller.abort('left');
      else finish(how);
      await settled;
    },
  };
}

function byPermit(real: Real): Call | undefined {
  const permit = real.breaker.tryAcquire();
  if (permit === undefined) return undefined;
  return {
    epoch: 0,
    leaseUntil: 0,
    startedAt: 0,
    async settle(how) {
      if (how === 'ok') permit.success();
      else if (how === 'fail') permit.failure('fail');
      else if (how === 'ignore') permit.ignore();
      else permit.release();
    },
  };
}
