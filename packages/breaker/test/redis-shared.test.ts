import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { BreakerRegistry, CircuitBreaker, type CircuitBreakerOptions } from '@x/breaker';
import { type RedisClient, RedisSharedState } from '@x/breaker/redis';
import { startRedis } from '@x/local-services';
import { ManualClock } from '@x/testkit';
import { Redis } from 'ioredis';
import { Redis as Redis6 } from 'ioredis-6';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

const RECOVERY_MS = 60_000;
const boom = new Error('boom');
const fail = () => Promise.reject(boom);
const ok = async () => 'ok';

let service: Awaited<ReturnType<typeof startRedis>>;
let admin: Redis;
let key: string;
let processes: Process[] = [];

/** The releases of ioredis that must work. */
const RELEASES = [
  { name: 'ioredis 5', Redis },
  { name: 'ioredis 6', Redis: Redis6 as unknown as typeof Redis },
];
let release = { name: '', Redis };

beforeAll(async () => {
  service = await startRedis();
  admin = new Redis(service.url);
});
afterAll(async () => {
  admin?.disconnect();
  await service?.[Symbol.asyncDispose]();
});
beforeEach(() => {
  key = `breaker-test:${process.pid}:${performance.now()}`;
});
afterEach(async () => {
  for (const one of processes) await one.stop();
  processes = [];
  await admin.del(key);
});

/** What one process has of its own: a connection, clocks that agree with nobody's, a breaker. */
class Process {
  readonly clock = new ManualClock({ now: 1e3 * processes.length ** 5, wallNow: 1e11 * processes.length });
  readonly client = new release.Redis(service.url);
  readonly underWay = new Set<Promise<unknown>>();
  readonly shared = new RedisSharedState({
    client: counted(this.client, this.underWay),
    key,
    commandTimeoutMs: 30_000,
    clock: this.clock,
  });
  readonly breaker: CircuitBreaker;
  readonly changes: string[] = [];
  /** Whether `eventually` lets time pass here, so that it syncs. */
  hears = true;

  constructor(options: CircuitBreakerOptions = {}) {
    this.breaker = new CircuitBreaker({
      name: 'api',
      failureThreshold: 2,
      recoveryTimeoutMs: RECOVERY_MS,
      shared: this.shared,
      clock: this.clock,
      ...options,
    });
    this.breaker.on('stateChange', ({ to, reason }) => this.changes.push(`${to}: ${reason}`));
    processes.push(this);
  }

  async trip(): Promise<void> {
    for (let n = 0; n < 2; n += 1) await expect(this.breaker.run(fail)).rejects.toBe(boom);
  }

  async stop(): Promise<void> {
    await this.shared.close();
    this.client.disconnect();
  }
}

/** The client, with what it has been asked and has not answered. */
function counted(client: Redis, underWay: Set<Promise<unknown>>): RedisClient {
  return {
    get status() {
      return client.status;
    },
    call(command, ...args) {
      const answer = client.call(command, ...args);
      const ended = () => underWay.delete(answer);
      underWay.add(answer);
      answer.then(ended, ended);
      return answer;
    },
  };
}

async function fleet(size: number, options: CircuitBreakerOptions = {}): Promise<Process[]> {
  const all = Array.from({ length: size }, () => new Process(options));
  for (const one of all) await eventually(() => expect(one.shared.stats().available).toBe(true));
  return all;
}

/** Until all that was sent is answered, and the answers are known. No clock moves. */
async function answered(): Promise<void> {
  const underWay = () => processes.flatMap((one) => [...one.underWay]);
  for (let waiting = underWay(); waiting.length > 0; waiting = underWay()) {
    await Promise.allSettled(waiting);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/**
 * Lets syncs go out until it is so. Time does not pass while they are answered: however slow this machine is, no lease
 * and no period is over sooner for it.
 */
async function eventually<T>(check: () => T): Promise<T> {
  for (let turn = 0; ; turn += 1) {
    await answered();
    try {
      return check();
    } catch (error) {
      if (turn === 20) throw error;
    }
    for (const { clock, hears } of processes) if (hears) await clock.advance(250);
  }
}

/** What is left of the lease in Redis, by its own clock. */
async function leaseForMs(): Promise<number> {
  const [seconds = 0, micros = 0] = await admin.time();
  const leasedUntil = Number((await admin.hget(key, 'api'))?.split(' ')[6]);
  return Math.max(0, leasedUntil - seconds * 1_000 - Math.floor(micros / 1_000));
}

async function openEverywhere(options: CircuitBreakerOptions = {}): Promise<Process[]> {
  const all = await fleet(4, options);
  await all[0]?.trip();
  await eventually(() => expect(all.map(({ breaker }) => breaker.state)).toEqual(['open', 'open', 'open', 'open']));
  return all;
}

/** Calls in all processes, one after the other, until a call is let through: its process, and the call. */
async function firstProbe<T>(all: Process[], probe: () => Promise<T>): Promise<{ holder: Process; call: Promise<T> }> {
  return eventually(() => {
    for (const holder of all) {
      let sent = false;
      const call = holder.breaker.run(() => {
        sent = true;
        return probe();
      });
      call.catch(() => {});
      if (sent) return { holder, call };
    }
    throw new Error('no probe yet');
  });
}

describe.each(RELEASES)('a circuit shared through Redis by $name', (tested) => {
  beforeAll(() => {
    release = tested;
  });

  it('opens in all processes when it opens in one, for the time that remains, whatever their clocks say', async () => {
    const [first, second] = await fleet(2, { recoveryBackoff: { factor: 2, maxMs: 1e9 } });
    await first?.trip();
    await eventually(() => expect(second?.breaker.state).toBe('open'));
    expect(second?.changes).toEqual(['open: shared']);
    expect(second?.breaker.retryAfterMs).toBeGreaterThan(RECOVERY_MS - 20_000);
    expect(second?.breaker.retryAfterMs).toBeLessThanOrEqual(RECOVERY_MS);
    // The one that opened it keeps its own time.
    expect(first?.breaker.toJSON().openings).toBe(1);
    expect(second?.breaker.toJSON().openings).toBe(1);
    await expect(second?.breaker.run(ok)).rejects.toMatchObject({ code: 'ERR_CIRCUIT_OPEN', cause: undefined });
  });

  it('is open from the start in a process that comes later', async () => {
    const [first] = await fleet(1);
    await first?.trip();
    await answered();
    const late = new Process();
    // No sync but the one of joining: its clock stands still.
    await answered();
    expect(late.breaker.state).toBe('open');
  });

  it('sends one probe for all processes; when it passes, all close', async () => {
    const all = await openEverywhere();
    for (const { clock } of all) clock.jump(RECOVERY_MS);
    expect(all.map(({ breaker }) => breaker.state)).toEqual(Array(4).fill('half-open'));
    let end: () => void = () => {};
    let sent = 0;
    const calls: Promise<unknown>[] = [];
    const probe = () => {
      sent += 1;
      return new Promise<void>((resolve) => (end = resolve));
    };
    await eventually(() => {
      for (const { breaker } of all) calls.push(breaker.run(probe).catch(() => {}));
      expect(sent).toBe(1);
    });
    for (let turn = 0; turn < 20; turn += 1) {
      for (const { breaker, clock } of all) {
        await clock.advance(100);
        calls.push(breaker.run(probe).catch(() => {}));
        expect(breaker.tryAcquire()).toBeUndefined();
      }
    }
    expect(sent).toBe(1);
    end();
    await Promise.all(calls);
    await eventually(() => expect(all.map(({ breaker }) => breaker.state)).toEqual(Array(4).fill('closed')));
    expect(all.map(({ changes }) => changes.at(-1)).sort()).toEqual([
      'closed: probe-passed',
      'closed: shared',
      'closed: shared',
      'closed: shared',
    ]);
  });

  it('opens anew in all processes when the probe fails, for the grown period', async () => {
    const all = await openEverywhere({ recoveryBackoff: { factor: 3, maxMs: 1e6 } });
    for (const { clock } of all) clock.jump(RECOVERY_MS);
    await firstProbe(all, fail);
    await eventually(() => {
      for (const { breaker } of all) expect(breaker.retryAfterMs).toBeGreaterThan(2 * RECOVERY_MS);
    });
    expect(all.map(({ breaker }) => breaker.toJSON().openings)).toEqual([2, 2, 2, 2]);
  });

  it('is probed by another process when the one that had the lease is gone', async () => {
    const all = await openEverywhere({ probeLeaseMs: 500 });
    for (const { clock } of all) clock.jump(RECOVERY_MS);
    const { holder } = await firstProbe(all, () => new Promise(() => {}));
    await answered();
    holder.client.disconnect();
    // By the server's clock, which nobody moves.
    await vi.waitFor(async () => expect(await leaseForMs()).toBe(0), { timeout: 10_000 });
    const next = await firstProbe(
      all.filter((one) => one !== holder),
      ok,
    );
    await next.call;
    expect(next.holder.breaker.state).toBe('closed');
  });

  it('is probed at once by another process when the one that had the lease says goodbye', async () => {
    const all = await openEverywhere();
    for (const { clock } of all) clock.jump(RECOVERY_MS);
    // Asks for the lease, gets it, and has no further call to use it.
    await expect(all[0]?.breaker.run(ok)).rejects.toMatchObject({ code: 'ERR_CIRCUIT_OPEN' });
    await answered();
    expect(await leaseForMs()).toBeGreaterThan(0);
    await all[0]?.shared.close();
    expect(await leaseForMs()).toBe(0);
    await firstProbe(all.slice(1), ok);
  });

  it('keeps the lease of one process when another, which was refused it, says goodbye', async () => {
    const [first, second] = await openEverywhere();
    for (const one of [first, second]) {
      one?.clock.jump(RECOVERY_MS);
      await expect(one?.breaker.run(ok)).rejects.toMatchObject({ code: 'ERR_CIRCUIT_OPEN' });
      await answered();
    }
    // Refused once, it does not ask again for as long as that lease runs.
    const commands = second?.shared.stats().commands;
    await expect(second?.breaker.run(ok)).rejects.toMatchObject({ code: 'ERR_CIRCUIT_OPEN' });
    expect(second?.shared.stats().commands).toBe(commands);
    await second?.shared.close();
    expect(await leaseForMs()).toBeGreaterThan(0);
    await expect(first?.breaker.run(ok)).resolves.toBe('ok');
  });

  it('is probed also where calls come so rarely that every lease is over before the next', async () => {
    const [only] = await fleet(1);
    await only?.trip();
    await answered();
    only?.clock.jump(RECOVERY_MS);
    await expect(only?.breaker.run(ok)).rejects.toMatchObject({ code: 'ERR_CIRCUIT_OPEN' });
    await answered();
    expect(await leaseForMs()).toBeGreaterThan(0);
    only?.clock.jump(10 * RECOVERY_MS);
    expect(only?.shared.stats().available).toBe(true);
    await expect(only?.breaker.run(ok)).resolves.toBe('ok');
    expect(only?.breaker.state).toBe('closed');
  });

  it('admits all of halfOpenCalls in the process that has the lease', async () => {
    const all = await openEverywhere({ halfOpenCalls: 3 });
    for (const { clock } of all) clock.jump(RECOVERY_MS);
    const { holder, call } = await firstProbe(all, ok);
    await call;
    await expect(holder.breaker.run(ok)).resolves.toBe('ok');
    expect(holder.breaker.state).toBe('half-open');
    await expect(holder.breaker.run(ok)).resolves.toBe('ok');
    expect(holder.breaker.state).toBe('closed');
  });

  it('gives permits of tryAcquire by the same leases', async () => {
    const all = await openEverywhere();
    for (const { clock } of all) clock.jump(RECOVERY_MS);
    let permits: unknown[] = [];
    await eventually(() => {
      permits = [...permits, ...all.map(({ breaker }) => breaker.tryAcquire())].filter(Boolean);
      expect(permits).toHaveLength(1);
    });
    (permits[0] as { success(): void }).success();
    await eventually(() => expect(all.map(({ breaker }) => breaker.state)).toEqual(Array(4).fill('closed')));
  });

  it('stays open everywhere for as long as the dependency asked one of them', async () => {
    const all = await openEverywhere();
    const [, second] = all;
    second?.breaker.reset();
    await eventually(() => expect(all.map(({ breaker }) => breaker.state)).toEqual(Array(4).fill('closed')));
    const [a, b] = [all[0]?.breaker.tryAcquire(), all[1]?.breaker.tryAcquire()];
    a?.failure(boom, 10_000);
    b?.failure(boom, 600_000);
    await eventually(() => {
      for (const { breaker } of all) expect(breaker.retryAfterMs).toBeGreaterThan(500_000);
    });
  });

  it('is closed everywhere by a reset; forced states stay where they are', async () => {
    const all = await openEverywhere();
    all[3]?.breaker.forceOpen();
    all[0]?.breaker.reset();
    await eventually(() =>
      expect(all.map(({ breaker }) => breaker.state)).toEqual(['closed', 'closed', 'closed', 'forced-open']),
    );
    await all[0]?.trip();
    await eventually(() => expect(all[1]?.breaker.state).toBe('open'));
    all[3]?.breaker.forceClosed();
    await eventually(() => expect(all[2]?.breaker.state).toBe('open'));
    expect(all[3]?.breaker.state).toBe('forced-closed');
  });

  it('is not closed by a probe that passes after another process has seen the dependency fail', async () => {
    const [first, second, unaware] = await fleet(3);
    if (unaware !== undefined) unaware.hears = false;
    await first?.trip();
    await eventually(() => expect(second?.breaker.state).toBe('open'));
    first?.clock.jump(RECOVERY_MS);
    second?.clock.jump(RECOVERY_MS);
    let end: (value: string) => void = () => {};
    const { holder, call } = await firstProbe(
      [first as Process],
      () => new Promise<string>((resolve) => (end = resolve)),
    );
    await answered();
    expect(unaware?.breaker.state).toBe('closed');
    // For longer, in whatever millisecond of the server it happens.
    unaware?.breaker.tryAcquire()?.failure(boom, RECOVERY_MS + 1_000);
    await answered();
    end('ok');
    await call;
    expect(holder.breaker.state).toBe('closed');
    await answered();
    expect(holder.changes.at(-1)).toBe('open: shared');
  });

  it('is closed by a probe that passes when what another process has seen is over', async () => {
    const [first] = await fleet(1);
    await first?.trip();
    await answered();
    first?.clock.jump(RECOVERY_MS);
    let end: (value: string) => void = () => {};
    const { call } = await firstProbe([first as Process], () => new Promise<string>((resolve) => (end = resolve)));
    await answered();
    const now = Number((await admin.time())[0]) * 1_000;
    await admin.hset(key, 'api', `1 o another ${now - 1} 1 - 0 ${now + 600_000}`);
    end('ok');
    await call;
    await answered();
    expect(await admin.hget(key, 'api')).toMatch(/^1 c /);
    expect(first?.breaker.state).toBe('closed');
  });

  it('does not forget openings because a process that knows of fewer sees the dependency fail', async () => {
    const [first, unaware] = await fleet(2);
    await first?.trip();
    await answered();
    first?.clock.jump(RECOVERY_MS);
    if (unaware !== undefined) unaware.hears = false;
    await firstProbe([first as Process], fail);
    await answered();
    await unaware?.trip();
    await answered();
    expect((await admin.hget(key, 'api'))?.split(' ')[4]).toBe('2');
  });

  it('stays open where it opened while Redis was away, though it was closed in Redis meanwhile', async () => {
    const [first, second] = await fleet(2);
    first?.client.disconnect();
    await vi.waitFor(() => expect(first?.client.status).toBe('end'), { timeout: 10_000 });
    await first?.trip();
    second?.breaker.reset();
    await answered();
    await first?.client.connect();
    await eventually(() => expect(second?.breaker.state).toBe('open'));
    expect(first?.changes).toEqual(['open: failure-threshold']);
  });

  it('is one for each name', async () => {
    const [one, other] = await fleet(2);
    const second = new CircuitBreaker({ name: 'db', shared: other?.shared, clock: other?.clock });
    await one?.trip();
    await eventually(() => expect(other?.breaker.state).toBe('open'));
    expect(second.state).toBe('closed');
    expect(other?.shared.stats().circuits).toBe(2);
  });

  it('does not keep a breaker in memory that a registry has forgotten', async () => {
    const [one] = await fleet(1);
    const registry = new BreakerRegistry({
      max: 5,
      create: (name) => new CircuitBreaker({ name, shared: one?.shared }),
    });
    for (let n = 0; n < 200; n += 1) registry.get(`host ${n}`);
    setFlagsFromString('--expose_gc');
    const gc = runInNewContext('gc') as () => void;
    await vi.waitFor(
      () => {
        gc();
        expect(one?.shared.stats().circuits).toBeLessThan(20);
      },
      { timeout: 15_000 },
    );
  });

  it('keeps the process alive no longer', async () => {
    const [one] = await fleet(1);
    // A sync that is under way has a timer of its own until it is answered.
    await answered();
    expect(one?.clock.pendingTimers).toBe(1);
    await one?.shared.close();
    await one?.shared.close();
    expect(one?.clock.pendingTimers).toBe(0);
    await one?.trip();
    expect(one?.breaker.state).toBe('open');
    one?.clock.jump(RECOVERY_MS);
    await expect(one?.breaker.run(ok)).resolves.toBe('ok');
  });
});

describe('wrong options', () => {
  it.each([
    [{ client: {} }, 'client must be an object with call()'],
    [{ key: 5 }, 'key must be a string'],
    [{ syncMs: 0 }, 'syncMs must be a finite number of milliseconds > 0'],
    [{ commandTimeoutMs: '1' }, 'commandTimeoutMs must be a finite number of milliseconds > 0'],
    [{ clock: { now: Date.now } }, 'clock must be an object with now() and setTimeout() and clearTimeout()'],
  ])('of a RedisSharedState throw: %j', (options, message) => {
    expect(() => new RedisSharedState({ client: admin, ...options } as never)).toThrow(`@x/breaker: ${message}`);
  });

  it('of a breaker that shares throw', () => {
    const shared = new RedisSharedState({ client: new Redis6({ lazyConnect: true }), key });
    expect(() => new CircuitBreaker({ shared })).toThrow('@x/breaker: name must be given with shared');
    expect(() => new CircuitBreaker({ name: '', shared })).toThrow('name must be of 1 to 256 characters');
    expect(() => new CircuitBreaker({ name: 'x'.repeat(257), shared })).toThrow('name must be of 1 to 256 characters');
    expect(() => new CircuitBreaker({ name: 'x', shared: {} as never })).toThrow(
      'shared must be an object with join()',
    );
  });
});
