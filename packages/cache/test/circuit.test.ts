import { Cache } from '@x/cache';
import { type RedisClient, RedisTier } from '@x/cache/redis';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';

/** A client whose commands are answered by the test. */
class Redis implements RedisClient {
  readonly status = 'ready';
  readonly asked: { command: string; answer: (value: unknown) => void; fail: (error: Error) => void }[] = [];

  callBuffer(command: string): Promise<unknown> {
    return this.call(command);
  }

  call(command: string): Promise<unknown> {
    return new Promise((answer, fail) => {
      this.asked.push({ command, answer, fail });
    });
  }

  get commands(): string[] {
    return this.asked.map(({ command }) => command);
  }
}

async function tripped() {
  const clock = new ManualClock();
  const client = new Redis();
  const cache = new Cache({ clock, remote: new RedisTier({ client, clock, retryAfterMs: 1_000 }) });
  const got = cache.get('k');
  client.asked[0]?.fail(new Error('gone'));
  expect(await got).toBeUndefined();
  return { clock, client, cache };
}

test('after a failure Redis is probed every retryAfterMs until it answers, and is then asked again', async () => {
  const { clock, client, cache } = await tripped();
  expect(await cache.get('k')).toBeUndefined();
  await clock.advance(1_000);
  expect(client.commands).toEqual(['GET', 'PING']);
  client.asked[1]?.fail(new Error('still gone'));
  await clock.advance(999);
  expect(client.commands).toEqual(['GET', 'PING']);
  await clock.advance(1);
  client.asked[2]?.answer('PONG');
  await clock.advance(0);
  void cache.get('k');
  expect(client.commands).toEqual(['GET', 'PING', 'PING', 'GET']);
});

test('a tier that is closed while a probe runs sends no other, though the probe fails', async () => {
  const { clock, client, cache } = await tripped();
  await clock.advance(1_000);
  await cache.close();
  client.asked[1]?.fail(new Error('still gone'));
  await clock.advance(10_000);
  expect(client.commands).toEqual(['GET', 'PING']);
  expect(clock.pendingTimers).toBe(0);
});

test('a command that fails after the tier was closed begins no probes', async () => {
  const clock = new ManualClock();
  const client = new Redis();
  const tier = new RedisTier({ client, clock });
  const got = tier.get('k');
  await tier.close();
  client.asked[0]?.fail(new Error('gone'));
  await expect(got).rejects.toThrow('gone');
  await clock.advance(10_000);
  expect(client.commands).toEqual(['GET']);
  expect(clock.pendingTimers).toBe(0);
});
