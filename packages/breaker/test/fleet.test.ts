import { afterAll, beforeAll, expect, test } from 'vitest';
import { Fleet, SETTINGS } from './fleet/fleet.ts';

// Four processes, a real Redis, a real dependency. What is timed is printed, and asserted by the soak alone.

let fleet: Fleet;
let severalProbes: number[];

beforeAll(async () => {
  fleet = await Fleet.start(4);
});
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]();
});

const openings = (from: number) => fleet.changes.slice(from).filter(({ to }) => to === 'open');

async function settle(): Promise<number> {
  fleet.dependency.health = 'well';
  fleet.dependency.failsFor.clear();
  await fleet.until(async () => (await fleet.stats()).every((one) => one.available), 'all connected');
  await fleet.all('closed');
  severalProbes = [];
  fleet.dependency.onSeveralProbes = (inFlight) => severalProbes.push(inFlight);
  return fleet.changes.length;
}

test('what one process sees opens the circuit of all four', async () => {
  const from = await settle();
  fleet.dependency.failsFor.add(0);
  await fleet.until(() => new Set(openings(from).map(({ member }) => member)).size === 4, 'open everywhere');
  const first = fleet.changes[from];
  expect(first).toMatchObject({ member: 0, to: 'open', reason: 'failure-threshold' });
  const others = [1, 2, 3].map((member) => openings(from).find((change) => change.member === member));
  expect(others.map((change) => change?.reason)).toEqual(['shared', 'shared', 'shared']);
  console.log(`known to all after ${Math.max(...others.map((change) => change?.at ?? 0)) - (first?.at ?? 0)} ms`);
}, 30_000);

test('the fleet sends one probe at a time, one for each open period, while 800 calls a second come', async () => {
  await settle();
  fleet.dependency.health = 'hanging';
  await fleet.all('open');
  const openSince = Date.now();
  await fleet.until(() => fleet.dependency.probes > 0, 'probed');
  const { probes } = fleet.dependency;
  const begin = performance.now();
  await fleet.until(() => fleet.dependency.probes >= probes + 4, 'probed four times more');
  const elapsedMs = performance.now() - begin;
  expect(severalProbes).toEqual([]);
  // Calls of the closed circuit may arrive late; none was made.
  expect(fleet.dependency.lastPlainCallAt).toBeLessThanOrEqual(openSince);
  // Each probe takes its call time-out, and an open period follows it.
  expect(fleet.dependency.probes - probes).toBeLessThanOrEqual(1 + elapsedMs / SETTINGS.recoveryTimeoutMs);
  const refused = (await fleet.stats()).reduce((sum, one) => sum + one.refused, 0);
  expect(refused).toBeGreaterThan(100);
}, 30_000);

test('all close when one probe has passed', async () => {
  const from = await settle();
  fleet.dependency.health = 'failing';
  await fleet.all('open');
  fleet.dependency.health = 'well';
  await fleet.all('closed');
  const closed = fleet.changes.slice(from).filter(({ to }) => to === 'closed');
  expect(closed.map(({ reason }) => reason).sort()).toEqual(['probe-passed', 'shared', 'shared', 'shared']);
}, 30_000);

test('another process probes when the one that had the lease was killed', async () => {
  const from = await settle();
  fleet.dependency.health = 'hanging';
  await fleet.until(() => fleet.changes.slice(from).some(({ to }) => to === 'half-open'), 'half-open somewhere');
  const holder = fleet.changes.slice(from).find(({ to }) => to === 'half-open')?.member ?? 0;
  await fleet.kill(holder);
  fleet.dependency.health = 'well';
  await fleet.until(
    () => fleet.changes.slice(from).some(({ member, reason }) => member !== holder && reason === 'probe-passed'),
    'probed by another',
  );
  await fleet.spawn(holder);
  await fleet.all('closed');
}, 30_000);

test('without Redis each process is on its own, and nobody waits', async () => {
  const from = await settle();
  await fleet.redis.kill();
  fleet.dependency.health = 'failing';
  const firstOpen = (member: number) => openings(from).find((change) => change.member === member);
  await fleet.until(() => [0, 1, 2, 3].every(firstOpen), 'open everywhere');
  expect([0, 1, 2, 3].map((member) => firstOpen(member)?.reason)).toEqual(Array(4).fill('failure-threshold'));
  fleet.dependency.health = 'well';
  await fleet.all('closed');
  await fleet.redis.restart();
  await settle();
}, 30_000);
