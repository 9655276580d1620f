import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { CircuitBreaker, type CircuitBreakerOptions } from '@x/breaker';
import { type RedisClient, RedisSharedState } from '@x/breaker/redis';
import { startRedis } from '@x/local-services';
import { ManualClock, TcpProxy } from '@x/testkit';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

const RECOVERY_MS = 10_000_000;
const KEY = 'breaker:circuits';
const boom = new Error('boom');
const fail = () => Promise.reject(boom);
const ok = async () => 'ok';

// Killed, paused and flushed: not a server that others use.
let service: Awaited<ReturnType<typeof startRedis>>;
let admin: Redis;
const cleanUp: (() => Promise<void> | void)[] = [];

beforeAll(async () => {
  service = await startRedis({ external: false });
  admin = connect(service.url);
});
afterAll(async () => {
  admin?.disconnect();
  await service?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await admin.flushall();
});
afterEach(async () => {
  for (const undo of cleanUp.splice(0)) await undo();
});

function connect(url: string): Redis {
  const redis = new Redis(url, { retryStrategy: () => 20, maxRetriesPerRequest: null });
  redis.on('error', () => {});
  return redis;
}

function join(client: RedisClient, options: CircuitBreakerOptions = {}) {
  const clock = new ManualClock();
  const shared = new RedisSharedState({ client, clock, commandTimeoutMs: 30_000 });
  const breaker = new CircuitBreaker({
    name: 'api',
    failureThreshold: 2,
    recoveryTimeoutMs: RECOVERY_MS,
    shared,
    clock,
    ...options,
  });
  cleanUp.push(() => shared.close());
  return { clock, shared, breaker };
}

function joinBy(url: string, options?: CircuitBreakerOptions) {
  const client = connect(url);
  cleanUp.push(() => client.disconnect());
  return { client, ...join(client, options) };
}

type Joined = ReturnType<typeof join>;

async function trip({ breaker }: Joined): Promise<void> {
  for (let n = 0; n < 2; n += 1) await expect(breaker.run(fail)).rejects.toBe(boom);
}

async function eventually(joined: Joined[], check: () => void | Promise<void>): Promise<void> {
  await vi.waitFor(
    async () => {
      for (const { clock } of joined) await clock.advance(250);
      await check();
    },
    { timeout: 15_000, interval: 10 },
  );
}

const available = (...joined: Joined[]) =>
  eventually(joined, () => {
    for (const { shared } of joined) expect(shared.stats().available).toBe(true);
  });

/** A whole life of the circuit, in which the clock moves only by hand: a call that waited for Redis would never come back. */
async function expectLocalLife(joined: Joined): Promise<void> {
  const { breaker, clock } = joined;
  await expect(breaker.run(ok)).resolves.toBe('ok');
  await trip(joined);
  await expect(breaker.run(ok)).rejects.toMatchObject({ code: 'ERR_CIRCUIT_OPEN' });
  expect(breaker.state).toBe('open');
  clock.jump(RECOVERY_MS);
  await expect(breaker.run(ok)).resolves.toBe('ok');
  expect(breaker.state).toBe('closed');
}

describe('a breaker that shares acts on its own', () => {
  it('before Redis has ever answered', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    await close(server);
    await expectLocalLife(joinBy(`redis://127.0.0.1:${port}`));
  });

  it('while Redis is dead, and shares again when it is back', async () => {
    const [one, other] = [joinBy(service.url), joinBy(service.url)];
    await available(one, other);
    await service.kill();
    await vi.waitFor(() => expect(one.client.status).not.toBe('ready'));
    await expectLocalLife(one);
    expect(one.shared.stats().available).toBe(false);
    expect(other.breaker.state).toBe('closed');
    await trip(one);
    await service.restart();
    // What opened meanwhile is told now.
    await eventually([one, other], () => expect(other.breaker.state).toBe('open'));
  });

  it('while Redis hangs, with a bounded number of commands under way, and shares again when it goes on', async () => {
    const [one, other] = [joinBy(service.url), joinBy(service.url)];
    await available(one, other);
    await service.pause();
    try {
      // Until the first command has run into its time-out a would-be probe is refused; nobody waits.
      await one.clock.advance(250);
      await one.clock.advance(30_000);
      expect(one.shared.stats().available).toBe(false);
      const { commands } = one.shared.stats();
      await expectLocalLife(one);
      await one.clock.advance(1_000_000);
      expect(one.shared.stats().commands).toBe(commands);
      await trip(one);
    } finally {
      await service.resume();
    }
    await eventually([one, other], () => expect(other.breaker.state).toBe('open'));
  });

  it('while the network swallows everything', async () => {
    const proxy = await TcpProxy.start(service.url);
    cleanUp.push(() => proxy[Symbol.asyncDispose]());
    const one = joinBy(proxy.through(service.url));
    await available(one);
    proxy.faults.blackHole = true;
    await one.clock.advance(250);
    await one.clock.advance(30_000);
    await expectLocalLife(one);
  });

  it('with answers that come too late', async () => {
    const held: (() => void)[] = [];
    const client: RedisClient = {
      status: 'ready',
      call: (...args) => new Promise((resolve) => held.push(() => resolve(admin.call(...args)))),
    };
    const one = join(client);
    await one.clock.advance(30_000);
    await expectLocalLife(one);
    for (const answer of held.splice(0)) answer();
    await vi.waitFor(async () => {
      await one.clock.advance(250);
      expect(held.length).toBeGreaterThan(0);
    });
    expect(one.shared.stats().available).toBe(false);
  });

  it.each([
    ['nothing', null],
    ['text', 'OK'],
    ['a number', 7],
    ['an empty list', []],
    ['a short list', ['api', 'o']],
    ['numbers that are none', ['api', 'o', 'x', 'soon', '1', '-', '0']],
    ['a time of a thousand years', ['api', 'o', 'x', '31536000000000', '1', '-', '0']],
    ['negative numbers', ['api', 'o', 'x', '-5', '-1', '-', '-7']],
    ['objects', [{}, {}, {}, {}, {}, {}, {}]],
  ])('when what answers is no Redis of ours: %s', async (_what, answer) => {
    const one = join({ status: 'ready', call: async () => answer });
    await one.clock.advance(250);
    await trip(one);
    expect(one.breaker.state).toBe('open');
    one.clock.jump(RECOVERY_MS);
    await vi.waitFor(async () => {
      await expect(one.breaker.run(ok)).resolves.toBe('ok');
    });
    expect(one.breaker.state).toBe('closed');
  });

  it('when every command fails, and when the client throws', async () => {
    await expectLocalLife(join({ status: 'ready', call: () => Promise.reject(new Error('READONLY')) }));
    await expectLocalLife(
      join({
        status: 'ready',
        call: () => {
          throw new Error('broken');
        },
      }),
    );
  });
});

describe('Redis that lost or holds something else', () => {
  it('is told again what is open after it was flushed', async () => {
    const [one, other] = [joinBy(service.url), joinBy(service.url)];
    await available(one);
    await trip(one);
    await eventually([one], async () => expect(await admin.exists(KEY)).toBe(1));
    await admin.flushall();
    await admin.script('FLUSH');
    await eventually([one], async () => expect(await admin.hexists(KEY, 'api')).toBe(1));
    await eventually([other], () => expect(other.breaker.state).toBe('open'));
    // The one that knew already does not open for longer because of it.
    expect(one.breaker.retryAfterMs).toBeLessThan(RECOVERY_MS);
  });

  it('still lets one process probe after it was flushed when the period was over', async () => {
    const all = [joinBy(service.url), joinBy(service.url), joinBy(service.url)];
    await available(...all);
    for (const one of all) await trip(one);
    await available(...all);
    for (const { clock } of all) clock.jump(RECOVERY_MS);
    await admin.flushall();
    let sent = 0;
    const probe = () => {
      sent += 1;
      return new Promise<void>(() => {});
    };
    await vi.waitFor(() => {
      for (const { breaker } of all) breaker.run(probe).catch(() => {});
      expect(sent).toBe(1);
    });
    for (let turn = 0; turn < 20; turn += 1) {
      for (const { breaker, clock } of all) {
        await clock.advance(250);
        breaker.run(probe).catch(() => {});
      }
    }
    expect(sent).toBe(1);
  });

  it.each<[string, () => Promise<unknown>]>([
    ['text under the key', () => admin.set(KEY, Buffer.from([0xff, 0, 0xfe]))],
    ['a list under the key', () => admin.lpush(KEY, 'x')],
    ['bytes as a record', () => admin.hset(KEY, 'api', Buffer.from([0xff, 0, 0x80]))],
    ['an empty record', () => admin.hset(KEY, 'api', '')],
    ['a record of another version', () => admin.hset(KEY, 'api', '2 o abc 1 1 - 0 99999999999999')],
    [
      'a record that would never end',
      () => admin.hset(KEY, 'api', `1 o abc ${'9'.repeat(40)} 1 - 0 ${'9'.repeat(40)}`),
    ],
    [
      'a lease that would never end',
      () => admin.hset(KEY, 'api', `1 o abc 0 1 x ${Date.now() + 1e12} ${Date.now() + 6e4}`),
    ],
    ['a huge record', () => admin.hset(KEY, 'api', 'x'.repeat(1e6))],
    ['a name of a megabyte', () => admin.hset(KEY, 'x'.repeat(1e6), '1 c abc 0 0 - 0 1')],
    ['20,000 circuits', () => admin.hset(KEY, Object.fromEntries(Array.from({ length: 20_000 }, (_, n) => [n, 'x'])))],
  ])('is cleaned, and shares: %s', async (_what, soil) => {
    await soil();
    const [one, other] = [joinBy(service.url), joinBy(service.url)];
    await available(one, other);
    expect([one.breaker.state, other.breaker.state]).toEqual(['closed', 'closed']);
    await trip(one);
    await eventually([one, other], () => expect(other.breaker.state).toBe('open'));
    expect(await admin.hkeys(KEY)).toEqual(['api']);
  });

  it('keeps a record only as long as it is of use', async () => {
    const one = joinBy(service.url, { recoveryTimeoutMs: 1_000 });
    await available(one);
    await trip(one);
    await eventually([one], async () => {
      const left = await admin.pttl(KEY);
      expect(left).toBeGreaterThan(0);
      expect(left).toBeLessThanOrEqual(601_000);
    });
  });

  it('holds no word about what failed', async () => {
    const one = joinBy(service.url);
    await available(one);
    const secret = new Error('password=hunter2');
    for (let n = 0; n < 2; n += 1) await one.breaker.run(() => Promise.reject(secret)).catch(() => {});
    await eventually([one], async () =>
      expect(await admin.hget(KEY, 'api')).toMatch(/^1 o [0-9a-f]{24} [\d ]+- 0 \d+$/),
    );
  });
});

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
