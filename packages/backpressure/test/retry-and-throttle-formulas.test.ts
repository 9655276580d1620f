import { ClientThrottle, RetryBudget } from '@x/backpressure';
import { ManualClock } from '@x/testkit';
import fc from 'fast-check';
import { expect, test } from 'vitest';

// Both against their formulas, over a log of all that happened: nothing of the counting is taken from the package. A window
// is ten slices, of which the one of now is the last.

const windowMs = 1_000;
const inWindow = (now: number) => (event: { at: number }) =>
  Math.floor(event.at / (windowMs / 10)) > Math.floor(now / (windowMs / 10)) - 10;

test('a client throttle refuses with max(0, (requests − k·accepts) / (requests + 1)) of the SRE book, ch. 21, calls of late without an answer left out', async () => {
  const ways = ['accepts', 'fails otherwise', 'is overloaded', 'hangs', 'hangs with a signal'] as const;
  const call = fc.record({
    do: fc.constant('call' as const),
    way: fc.constantFrom(...ways),
    chance: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    signal: fc.boolean(),
  });
  const wait = fc.record({ do: fc.constant('wait' as const), ms: fc.nat(400) });
  const abort = fc.record({ do: fc.constant('abort' as const), which: fc.nat(20) });
  const steps = fc.array(
    fc.oneof({ weight: 8, arbitrary: call }, { weight: 2, arbitrary: wait }, { weight: 2, arbitrary: abort }),
    { maxLength: 100, size: 'max' },
  );
  await fc.assert(
    fc.asyncProperty(fc.double({ min: 1, max: 4, noNaN: true }), steps, async (k, given) => {
      const clock = new ManualClock({ now: 0 });
      let chance = 0;
      const throttle = new ClientThrottle({ k, windowMs, clock, random: () => chance });
      let requests: { at: number; unanswered?: boolean }[] = [];
      const accepts: { at: number }[] = [];
      const hanging: { controller: AbortController; request: { at: number }; ended: Promise<unknown> }[] = [];

      const check = (): number => {
        const wanted = requests.filter(inWindow(clock.now())).length;
        const accepted = accepts.filter(inWindow(clock.now())).length;
        const slice = (at: number) => Math.floor(at / (windowMs / 10));
        const young = requests.filter((r) => r.unanswered === true && slice(r.at) > slice(clock.now()) - 2).length;
        const ratio = Math.max(0, (wanted - young - k * accepted) / (wanted - young + 1));
        expect(throttle.stats()).toMatchObject({ requests: wanted, accepts: accepted });
        expect(throttle.stats().rejectionRatio).toBeCloseTo(ratio, 12);
        return throttle.stats().rejectionRatio;
      };

      for (const each of given) {
        const ratio = check();
        if (each.do === 'wait') clock.jump(each.ms);
        else if (each.do === 'abort') {
          const [left] = hanging.splice(each.which % Math.max(1, hanging.length), 1);
          if (left === undefined) continue;
          left.controller.abort(new Error('gone'));
          await left.ended;
          // As if it had not been made.
          requests = requests.filter((request) => request !== left.request);
        } else {
          chance = each.chance;
          const request: (typeof requests)[number] = { at: clock.now() };
          requests.push(request);
          const controller = new AbortController();
          let sent = false;
          const outcome = throttle
            .run(
              () => {
                sent = true;
                if (each.way === 'accepts') return 'ok';
                if (each.way === 'fails otherwise') throw Object.assign(new Error('no'), { status: 404 });
                if (each.way === 'is overloaded') throw Object.assign(new Error('busy'), { status: 503 });
                return new Promise(() => {});
              },
              each.signal || each.way === 'hangs with a signal' ? { signal: controller.signal } : {},
            )
            .catch((error) => error);
          await new Promise((resolve) => setImmediate(resolve));
          expect(sent).toBe(chance >= ratio);
          request.unanswered = sent && each.way.startsWith('hangs');
          if (!sent) expect(await outcome).toMatchObject({ code: 'ERR_OVERLOADED', reason: 'shed' });
          else if (each.way === 'accepts' || each.way === 'fails otherwise') accepts.push({ at: clock.now() });
          else if (each.way === 'hangs with a signal') hanging.push({ controller, request, ended: outcome });
        }
      }
      check();
    }),
    { numRuns: 150 },
  );
});

test('a retry budget allows as many retries as its share of the calls and its minimum for the window, and no more', () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.constant({ do: 'call' as const, ms: 0 }) },
    { weight: 4, arbitrary: fc.constant({ do: 'retry' as const, ms: 0 }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(400) }) },
  );
  fc.assert(
    fc.property(
      // Fractions that are exact, so that no sum is a matter of rounding.
      fc.constantFrom(0, 0.125, 0.25, 0.5, 1),
      fc.constantFrom(0, 0.5, 1, 3),
      fc.array(step, { maxLength: 200, size: 'max' }),
      (ratio, minRetriesPerSecond, steps) => {
        const clock = new ManualClock({ now: 0 });
        const budget = new RetryBudget({ ratio, minRetriesPerSecond, windowMs, clock });
        const calls: { at: number }[] = [];
        const retries: { at: number }[] = [];
        let denied = 0;
        for (const each of steps) {
          const now = clock.now();
          if (each.do === 'wait') clock.jump(each.ms);
          else if (each.do === 'call') {
            budget.recordCall();
            calls.push({ at: now });
          } else {
            const room = calls.filter(inWindow(now)).length * ratio + (minRetriesPerSecond * windowMs) / 1_000;
            const allowed = retries.filter(inWindow(now)).length + 1 <= room;
            expect(budget.tryRetry()).toBe(allowed);
            if (allowed) retries.push({ at: now });
            else denied++;
          }
        }
        expect(budget.stats()).toEqual({
          calls: calls.filter(inWindow(clock.now())).length,
          retries: retries.filter(inWindow(clock.now())).length,
          denied,
        });
      },
    ),
    { numRuns: 300 },
  );
});

test('a dependency that refuses ever more is sent k calls for each it accepts', async () => {
  let seed = 7;
  const random = () => {
    seed = (seed * 16_807) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  for (const [k, accepted] of [
    [2, 0.1],
    [2, 0.02],
    [1.2, 0.1],
    [4, 0.1],
  ] as const) {
    const clock = new ManualClock({ now: 0 });
    const throttle = new ClientThrottle({ k, windowMs: 10_000, clock, random });
    let room = 0;
    let sent = 0;
    let took = 0;
    for (let n = 0; n < 20_000; n++) {
      clock.jump(5);
      room = Math.min(50, room + accepted);
      const measured = n >= 10_000;
      await throttle
        .run(() => {
          if (measured) sent++;
          if (room < 1) throw Object.assign(new Error('busy'), { status: 503 });
          room--;
          if (measured) took++;
        })
        .catch(() => {});
    }
    // All the dependency could do was done, and it was asked about k times for it.
    expect(took / (10_000 * accepted)).toBeGreaterThan(0.85);
    expect(sent / took).toBeGreaterThan(k * 0.85);
    expect(sent / took).toBeLessThan(k * 1.2);
  }
});
