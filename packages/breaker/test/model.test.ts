import { type BreakerState, CircuitBreaker } from '@x/breaker';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
import { expect, it } from 'vitest';

const THRESHOLD = 3;
const RECOVERY_MS = 100;
const LEASE_MS = 60;
const PROBES = 2;

/** A call that is under way: on both sides, the breaker's and the model's. */
interface Call {
  epoch: number;
  leaseUntil: number;
  settle(how: 'ok' | 'fail' | 'ignore' | 'abort'): Promise<void>;
}

/** The breaker as one would write it down: no care for speed, every rule spelt out. */
class Model {
  state: BreakerState = 'closed';
  epoch = 0;
  now = 0;
  inARow = 0;
  openUntil = 0;
  probesOut: Call[] = [];
  outcomes = 0;
  counts = { successes: 0, failures: 0, ignored: 0, rejected: 0, late: 0, permitsLost: 0, transitions: 0 };

  enter(state: BreakerState): void {
    if (this.state !== state) this.counts.transitions += 1;
    this.state = state;
    this.epoch += 1;
    this.inARow = 0;
    this.probesOut = [];
    this.outcomes = 0;
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
      if (this.outcomes + this.probesOut.length >= PROBES) this.expire();
      if (this.outcomes + this.probesOut.length < PROBES) return true;
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
    if (this.state === 'closed') {
      this.inARow = how === 'ok' ? 0 : this.inARow + 1;
      if (this.inARow === THRESHOLD) this.enter('open');
    } else if (this.state === 'half-open') {
      this.outcomes += 1;
      if (how === 'fail') this.enter('open');
      else if (this.outcomes === PROBES) this.enter('closed');
    }
  }
}

class Real {
  readonly clock: ManualClock = new ManualClock({ now: 0 });
  readonly breaker: CircuitBreaker = new CircuitBreaker({
    failureThreshold: THRESHOLD,
    recoveryTimeoutMs: RECOVERY_MS,
    probeLeaseMs: LEASE_MS,
    halfOpenCalls: PROBES,
    clock: this.clock,
    classify: (outcome) => ('value' in outcome ? 'success' : outcome.error === 'ignore' ? 'ignore' : 'failure'),
  });
  readonly calls: Call[] = [];

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

it('behaves as its model under any interleaving of calls, late results, aborts, clock steps and forced states', async () => {
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
    fc.asyncProperty(commands, (all) => fc.asyncModelRun(() => ({ model: new Model(), real: new Real() }), all)),
    { numRuns: 300 },
  );
});

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
    async settle(how) {
      if (how === 'ok') permit.success();
      else if (how === 'fail') permit.failure('fail');
      else if (how === 'ignore') permit.ignore();
      else permit.release();
    },
  };
}
