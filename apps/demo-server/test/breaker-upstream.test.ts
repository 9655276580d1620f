import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CircuitBreaker, type StateChangeReason } from '@x/breaker';
import { classifyHttp } from '@x/breaker/http';
import { HttpPool } from '@x/pools/http';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';

// A real upstream that becomes slow, fails, hangs and is well again under load, called through HttpPool: what a breaker saves.
// Times are printed, not asserted.

type Health = 'well' | 'slow' | 'failing' | 'asking' | 'hanging' | 'resetting';

const CALL_EVERY_MS = 4;
const SICK_CALLS = 200;

let health: Health = 'well';
let reached = 0;
let server: Server;
let url: string;
let pool: HttpPool;

beforeAll(async () => {
  server = createServer((_request, response) => {
    reached += 1;
    answer(response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});
beforeEach(() => {
  health = 'well';
  pool = new HttpPool({ timeoutMs: 600, maxConnections: 400, http2: false });
});
afterEach(() => pool.close());

function answer(response: ServerResponse): void {
  const status = { well: 200, slow: 200, failing: 500, asking: 503, hanging: 0, resetting: 0 }[health];
  if (health === 'resetting') response.destroy();
  if (status === 0) return;
  if (health === 'asking') response.setHeader('retry-after', '1');
  setTimeout(() => response.writeHead(status).end('{}'), health === 'slow' ? 300 : 0);
}

function newBreaker(): CircuitBreaker {
  return new CircuitBreaker({
    name: 'upstream',
    window: { ms: 2_000 },
    failureRate: 0.5,
    minimumCalls: 20,
    slowCall: { ms: 200, rate: 0.5 },
    recoveryTimeoutMs: 300,
    halfOpenCalls: 3,
    classify: classifyHttp,
  });
}

interface Tally {
  made: number;
  reached: number;
  waitedMs: number;
}

/** Calls at a fixed pace, whether or not earlier ones have ended, until `enough`. */
async function load(call: () => Promise<unknown>, enough: (made: number) => boolean): Promise<Tally> {
  const before = reached;
  const calls: Promise<void>[] = [];
  let waitedMs = 0;
  while (!enough(calls.length)) {
    const startedAt = performance.now();
    const ended = () => {
      waitedMs += performance.now() - startedAt;
    };
    calls.push(call().then(ended, ended));
    await new Promise((resolve) => setTimeout(resolve, CALL_EVERY_MS));
  }
  await Promise.all(calls);
  return { made: calls.length, reached: reached - before, waitedMs: waitedMs / calls.length };
}

test.each<[Health, StateChangeReason]>([
  ['slow', 'slow-call-rate'],
  ['failing', 'failure-rate'],
  ['asking', 'retry-after'],
  ['hanging', 'failure-rate'],
  ['resetting', 'failure-rate'],
])(
  'an upstream that is %s is left alone until it is well again',
  async (sickness, reason) => {
    const breaker = newBreaker();
    const changes: { to: string; reason: string }[] = [];
    breaker.on('stateChange', ({ to, reason: why }) => changes.push({ to, reason: why }));
    const guarded = () => breaker.run(({ signal }) => pool.get(url, { signal }));

    await load(guarded, (made) => made === 50);
    expect(breaker.stats()).toMatchObject({ state: 'closed', successes: 50, rejected: 0 });

    health = sickness;
    const bare = await load(
      () => pool.get(url),
      (made) => made === SICK_CALLS,
    );
    const sick = await load(guarded, (made) => made >= SICK_CALLS && breaker.stats().rejected >= SICK_CALLS / 2);
    expect(changes[0]).toEqual({ to: 'open', reason });
    expect(bare.reached).toBeGreaterThan(sick.reached);
    // Each call either reached the upstream or was refused; none was lost or made twice.
    expect(sick.reached + breaker.stats().rejected).toBe(sick.made);

    health = 'well';
    const wellSince = performance.now();
    await load(guarded, () => breaker.state === 'closed');
    const recoveryMs = performance.now() - wellSince;
    expect(changes.at(-1)).toEqual({ to: 'closed', reason: 'probe-passed' });
    const { rejected } = breaker.stats();
    await load(guarded, (made) => made === 50);
    expect(breaker.stats()).toMatchObject({ state: 'closed', rejected });
    console.log(
      `${sickness}: of ${sick.made} calls ${sick.reached} reached the upstream, ${sick.made - sick.reached} were saved; ` +
        `a caller waited ${sick.waitedMs.toFixed(0)} ms on average, ${bare.waitedMs.toFixed(0)} ms without a breaker; ` +
        `closed ${recoveryMs.toFixed(0)} ms after the upstream was well`,
    );
  },
  60_000,
);
