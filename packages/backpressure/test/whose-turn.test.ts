import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { ConcurrencyLimiter, type ConcurrencyLimiterOptions, type RunOptions } from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import { describe, expect, test } from 'vitest';

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

/** A limiter whose only permit is taken, and a list of who was served. */
function setUp(options: Partial<ConcurrencyLimiterOptions> = {}) {
  const clock = new ManualClock();
  const limiter = new ConcurrencyLimiter({ limit: 1, clock, random: () => 0, ...options });
  const permit = limiter.tryAcquire();
  const served: string[] = [];
  const ask = (name: string, how: RunOptions = {}): Promise<void> =>
    limiter.run(() => void served.push(name), how).catch((error) => void served.push(`${name}: ${error.reason}`));
  return { clock, limiter, permit, served, ask };
}

describe('priorities', () => {
  test('critical goes before default, default before sheddable', async () => {
    const { permit, served, ask, limiter } = setUp();
    void ask('s', { priority: 'sheddable' });
    void ask('d');
    void ask('c', { priority: 'critical' });
    permit?.release();
    await limiter.onIdle();
    expect(served).toEqual(['c', 'd', 's']);
  });

  test('in a full queue the newcomer takes the place of the newest of the least important', async () => {
    const { permit, served, ask, limiter } = setUp({ maxQueue: 3 });
    void ask('s1', { priority: 'sheddable' });
    void ask('s2', { priority: 'sheddable' });
    void ask('d1');
    await ask('s3', { priority: 'sheddable' });
    void ask('c1', { priority: 'critical' });
    void ask('d2');
    void ask('c2', { priority: 'critical' });
    await ask('d3');
    permit?.release();
    await limiter.onIdle();
    expect(served).toEqual(['s3: queue_full', 's2: shed', 's1: shed', 'd2: shed', 'd3: queue_full', 'c1', 'c2', 'd1']);
    expect(limiter.stats().rejected).toMatchObject({ queue_full: 2, shed: 3 });
  });

  test('what is unimportant is served now and then, however much important work there is', async () => {
    const { permit, served, ask, limiter } = setUp();
    void ask('s', { priority: 'sheddable' });
    void ask('d');
    for (let n = 0; n < 300; n++) void ask('c', { priority: 'critical' });
    permit?.release();
    await limiter.onIdle();
    expect(served.filter((name) => name === 'c').length).toBe(300);
    expect([served.indexOf('d'), served.indexOf('s')].sort((a, b) => a - b)).toEqual([127, 128]);
  });
});

describe('callers', () => {
  test('take turns, each in its own order', async () => {
    const { permit, served, ask, limiter } = setUp();
    for (let n = 0; n < 3; n++) void ask(`a${n}`, { key: 'a' });
    void ask('-0');
    void ask('b0', { key: 'b' });
    void ask('b1', { key: 'b' });
    permit?.release();
    await limiter.onIdle();
    expect(served).toEqual(['a0', '-0', 'b0', 'a1', 'b1', 'a2']);
  });

  test('one who fills the queue does not keep others out of it', async () => {
    const { permit, served, ask, limiter } = setUp({ maxQueue: 4 });
    for (let n = 0; n < 5; n++) void ask(`a${n}`, { key: 'a' });
    void ask('b0', { key: 'b' });
    void ask('b1', { key: 'b' });
    void ask('b2', { key: 'b' });
    await Promise.resolve();
    permit?.release();
    await limiter.onIdle();
    expect(served.filter((name) => name.includes(':')).sort()).toEqual([
      'a2: shed',
      'a3: shed',
      'a4: queue_full',
      'b2: queue_full',
    ]);
    expect(served.filter((name) => !name.includes(':'))).toEqual(['a0', 'b0', 'a1', 'b1']);
  });

  test('nobody makes place for a caller who would then have as much as it had', async () => {
    const { permit, served, ask, limiter } = setUp({ maxQueue: 3 });
    for (const name of ['a0', 'a1', 'b0', 'b1']) void ask(name, { key: name.charAt(0) });
    await Promise.resolve();
    permit?.release();
    await limiter.onIdle();
    expect(served.sort()).toEqual(['a0', 'a1', 'b0', 'b1: queue_full']);
  });

  test('one who leaves when it is its turn does not hold up the others', async () => {
    const { permit, served, ask, limiter } = setUp();
    const controller = new AbortController();
    void ask('a', { key: 'a', signal: controller.signal });
    void ask('b', { key: 'b' });
    void ask('c', { key: 'c' });
    controller.abort({ reason: 'gone' });
    permit?.release();
    await limiter.onIdle();
    expect(served.filter((name) => !name.includes(':'))).toEqual(['b', 'c']);
    expect(served).toContain('a: gone');
  });

  test('are forgotten when none of their calls waits', async () => {
    const { permit, ask, limiter, served } = setUp();
    for (let n = 0; n < 100; n++) void ask(`${n}`, { key: `caller-${n % 10}` });
    permit?.release();
    await limiter.onIdle();
    expect(served.length).toBe(100);
    expect(served.slice(0, 10)).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);

    const megabytes = (): number => {
      gc();
      return process.memoryUsage().heapUsed / 1e6;
    };
    const before = megabytes();
    for (let n = 0; n < 20_000; n++) {
      const held = limiter.tryAcquire();
      const run = limiter.run(() => {}, { key: `caller-${n}`.padEnd(1_000) });
      held?.release();
      await run;
    }
    expect(megabytes() - before).toBeLessThan(10);
  });
});

describe('the adaptive order', () => {
  test('is the oldest first in a burst, the newest first once the queue stands', async () => {
    const { permit, served, ask, limiter, clock } = setUp({ order: 'adaptive' });
    for (const name of ['a', 'b', 'c']) void ask(name);
    await clock.advance(100);
    permit?.release();
    await limiter.onIdle();
    expect(served).toEqual(['a', 'b', 'c']);

    const again = limiter.tryAcquire();
    for (const name of ['d', 'e', 'f']) void ask(name);
    await clock.advance(101);
    again?.release();
    await limiter.onIdle();
    expect(served.slice(3)).toEqual(['f', 'e', 'd']);
  });

  test('a queue stands from when it was last empty, however lately somebody came', async () => {
    const { permit, served, ask, limiter, clock } = setUp({ order: 'adaptive' });
    for (const name of ['a', 'b', 'c']) {
      void ask(name);
      await clock.advance(50);
    }
    permit?.release();
    await limiter.onIdle();
    expect(served).toEqual(['c', 'b', 'a']);
  });
});

describe('the adaptive order under a queue that stands', () => {
  test('serves one of the oldest in eight, so that nobody waits for ever behind callers who come back', async () => {
    const { served, ask, limiter, clock, permit } = setUp({ order: 'adaptive' });
    for (let n = 0; n < 20; n++) void ask(`${n}`);
    await clock.advance(101);
    permit?.release();
    await limiter.onIdle();
    expect(served.slice(0, 9)).toEqual(['19', '18', '17', '16', '15', '14', '13', '0', '12']);
    expect(served[15]).toBe('1');
  });

  test('with deadlines is the oldest first as long as the oldest can end in time, however long the queue stands', async () => {
    const { served, ask, limiter, clock, permit } = setUp({ order: 'adaptive' });
    permit?.release();
    for (let n = 0; n < 20; n++) await limiter.run(() => clock.advance(50));
    const held = limiter.tryAcquire();
    for (const name of ['a', 'b', 'c']) void ask(name, { deadlineMs: 1_000 });
    await clock.advance(900);
    held?.release();
    await limiter.onIdle();
    expect(served).toEqual(['a', 'b', 'c']);
  });

  test('with deadlines is the newest first once the oldest may not end in time', async () => {
    const { served, ask, limiter, clock, permit } = setUp({ order: 'adaptive' });
    permit?.release();
    // Nine runs in ten take 10 ms, one takes 100.
    for (let n = 0; n < 200; n++) await limiter.run(() => clock.advance(n % 10 === 0 ? 100 : 10));
    const held = limiter.tryAcquire();
    void ask('old', { deadlineMs: 200 });
    await clock.advance(140);
    void ask('young', { deadlineMs: 200 });
    held?.release();
    await limiter.onIdle();
    expect(served).toEqual(['young', 'old']);
  });
});

test('a few very long calls do not make all others look hopeless', async () => {
  const { served, ask, clock, permit, limiter } = setUp();
  permit?.release();
  for (let n = 0; n < 50; n++) await limiter.run(() => clock.advance(n % 10 === 9 ? 5_000 : 10));
  const held = limiter.tryAcquire();
  void ask('in time', { deadlineMs: 100 });
  await clock.advance(20);
  held?.release();
  await limiter.onIdle();
  expect(served).toEqual(['in time']);
});

test('work that cannot end in time any more is passed over when its turn comes', async () => {
  const { permit, served, ask, limiter, clock } = setUp();
  void ask('late', { deadlineMs: 100 });
  void ask('patient', { deadlineMs: 1_000 });
  // The process stood still: no timer has fired yet.
  clock.jump(101);
  permit?.release();
  await limiter.onIdle();
  expect(served.sort()).toEqual(['late: deadline', 'patient']);
});

test('in a full room the one who makes place is the newest of a caller with most there, whoever they are', async () => {
  const random = seeded(7);
  for (let round = 0; round < 200; round++) {
    const limiter = new ConcurrencyLimiter({ limit: 1, maxQueue: 10 });
    limiter.tryAcquire();
    const waiting: { key: string | undefined; out: boolean }[] = [];
    const keys = 1 + Math.floor(random() * 12);
    for (let n = 0; n < 40; n++) {
      const name = Math.floor(random() ** 2 * keys);
      const one = { key: name === 0 ? undefined : `k${name}`, out: false };
      const before = waiting.filter(({ out }) => !out);
      const count = (key: string | undefined) => before.filter((other) => other.key === key).length;
      const most = Math.max(0, ...before.map(({ key }) => count(key)));
      waiting.push(one);
      const refused = limiter
        .run(() => {}, { key: one.key })
        .catch(() => {
          one.out = true;
        });
      await Promise.race([refused, new Promise(setImmediate)]);
      const gone = [...before, one].filter(({ out }) => out);
      if (before.length < 10) expect(gone).toEqual([]);
      else if (most < count(one.key) + 2) expect(gone).toEqual([one]);
      else {
        expect(gone).toHaveLength(1);
        const [victim] = gone;
        expect(count(victim?.key)).toBe(most);
        expect(before.findLast(({ key }) => key === victim?.key)).toBe(victim);
      }
    }
    await limiter.close({ timeoutMs: 0 });
  }
});

/** Tommy Ettinger's generator: the same run for the same seed. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
