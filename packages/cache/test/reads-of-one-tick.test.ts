import { type RedisClient, RedisTier } from '@x/cache/redis';
import { ManualClock } from '@x/testkit';
import { expect, test } from 'vitest';

/** A client whose commands are answered by the test, from what `values` has or otherwise. */
class Redis implements RedisClient {
  readonly status = 'ready';
  readonly values = new Map<string, Buffer>();
  readonly asked: { command: string; answer: (value?: unknown) => void; fail: (error: Error) => void }[] = [];

  call(...command: (string | number | Buffer)[]): Promise<unknown> {
    return new Promise((resolve, fail) => {
      const keys = command.slice(1).map(String);
      const found = keys.map((key) => this.values.get(key) ?? null);
      const answer = (value: unknown = command[0] === 'MGET' ? found : found[0]) => resolve(value);
      this.asked.push({ command: command.join(' '), answer, fail });
    });
  }

  callBuffer(...command: (string | number | Buffer)[]): Promise<unknown> {
    return this.call(...command);
  }

  get commands(): string[] {
    return this.asked.map(({ command }) => command);
  }
}

function setup() {
  const client = new Redis();
  const clock = new ManualClock();
  const tier = new RedisTier({ client, clock, prefix: 'p:', invalidation: 'none', commandTimeoutMs: 500 });
  return { client, clock, tier };
}

/** What stands in Redis for a value. */
function stored(value: unknown): Buffer {
  return Buffer.from(
    `xc2V${'v'.repeat(16)}${'0'.repeat(15)}${'9'.repeat(15)}j-${JSON.stringify([1, null, [], value])}`,
  );
}

const endOfTick = () => new Promise<void>((resolve) => setImmediate(resolve));

test('a read that finds no command under way is sent at once, the others of the tick follow in one MGET', async () => {
  const { client, tier } = setup();
  for (const key of ['a', 'b', 'c']) client.values.set(`p:${key}`, stored(key));
  const reads = ['a', 'b', 'missing', 'c'].map((key) => tier.get(key));
  expect(client.commands).toEqual(['GET p:a']);
  await endOfTick();
  expect(client.commands).toEqual(['GET p:a', 'MGET p:b p:missing p:c']);
  for (const { answer } of client.asked) answer();
  expect((await Promise.all(reads)).map((entry) => entry?.value)).toEqual(['a', 'b', undefined, 'c']);
  void tier.get('d');
  expect(client.commands.at(-1)).toBe('GET p:d');
});

test('a read that comes while a command is under way, and alone in its tick, is a GET', async () => {
  const { client, tier } = setup();
  client.values.set('p:b', stored('b'));
  void tier.get('a');
  await endOfTick();
  const read = tier.get('b');
  expect(client.commands).toEqual(['GET p:a']);
  await endOfTick();
  expect(client.commands).toEqual(['GET p:a', 'GET p:b']);
  client.asked[1]?.answer();
  expect((await read)?.value).toBe('b');
});

test('no MGET takes more than 64 keys', async () => {
  const { client, tier } = setup();
  const keys = Array.from({ length: 131 }, (_, n) => `k${n}`);
  for (const key of keys) client.values.set(`p:${key}`, stored(key));
  const reads = keys.map((key) => tier.get(key));
  await endOfTick();
  expect(client.commands.map((command) => command.split(' ').length - 1)).toEqual([1, 64, 64, 2]);
  for (const { answer } of client.asked) answer();
  expect((await Promise.all(reads)).map((entry) => entry?.value)).toEqual(keys);
});

test('a read whose MGET, or whose GET at the end of the tick, fails is rejected', async () => {
  for (const others of [['b', 'c'], ['b']]) {
    const { client, tier } = setup();
    void tier.get('a');
    const reads = others.map((key) => tier.get(key));
    await endOfTick();
    client.asked[1]?.fail(new Error('gone'));
    for (const read of reads) await expect(read).rejects.toThrow('gone');
  }
});

test('what cannot be read is deleted, whether or not it came with others, and disturbs none of them', async () => {
  const { client, tier } = setup();
  for (const key of ['first', 'second']) client.values.set(`p:${key}`, Buffer.from(`${stored(key).subarray(0, 52)}{`));
  client.values.set('p:well', stored('well'));
  const reads = ['first', 'second', 'well'].map((key) => tier.get(key));
  await endOfTick();
  for (const { answer } of client.asked) answer();
  await endOfTick();
  expect(client.commands.slice(2).sort()).toEqual(['UNLINK p:first', 'UNLINK p:second']);
  for (const { answer } of client.asked) answer(1);
  expect((await Promise.all(reads)).map((entry) => entry?.value)).toEqual([undefined, undefined, 'well']);
});

test('an answer that comes after the time-out is not looked at, and the command is not under way any more', async () => {
  const { client, clock, tier } = setup();
  client.values.set('p:a', Buffer.from(`${stored('a').subarray(0, 52)}{`));
  const read = tier.get('a');
  const failed = expect(read).rejects.toMatchObject({ code: 'ERR_REDIS_UNAVAILABLE' });
  await clock.advance(500);
  await failed;
  client.asked[0]?.answer();
  await endOfTick();
  expect(client.commands).toEqual(['GET p:a']);
  await clock.advance(1_000);
  client.asked[1]?.answer('PONG');
  await endOfTick();
  void tier.get('b');
  expect(client.commands).toEqual(['GET p:a', 'PING', 'GET p:b']);
});

test('commands time out each in its turn, also when one in the middle was answered', async () => {
  const { client, clock, tier } = setup();
  const outcomes: string[] = [];
  const note = (name: string) => (read: Promise<unknown>) =>
    read.then(
      () => outcomes.push(`${name} answered`),
      () => outcomes.push(`${name} timed out`),
    );
  for (const name of ['a', 'b', 'c', 'd']) {
    void note(name)(tier.get(name));
    await endOfTick();
    await clock.advance(100);
  }
  client.asked[1]?.answer();
  client.asked[3]?.answer();
  await endOfTick();
  expect(outcomes).toEqual(['b answered', 'd answered']);
  void note('e')(tier.get('e'));
  await clock.advance(100);
  await endOfTick();
  expect(outcomes.slice(2)).toEqual(['a timed out']);
  await clock.advance(200);
  await endOfTick();
  expect(outcomes.slice(3)).toEqual(['c timed out']);
  await clock.advance(200);
  await endOfTick();
  expect(outcomes.slice(4)).toEqual(['e timed out']);
});

test('a client that has getBuffer is asked by it', async () => {
  const { client } = setup();
  const got: string[] = [];
  const getBuffer = async (key: string) => {
    got.push(key);
    return stored('by getBuffer');
  };
  const tier = new RedisTier({ client: Object.assign(client, { getBuffer }), prefix: 'p:', invalidation: 'none' });
  expect((await tier.get('k'))?.value).toBe('by getBuffer');
  expect(got).toEqual(['p:k']);
  expect(client.commands).toEqual([]);
});

test('a time that is not written in fifteen digits is no time', async () => {
  const bytes = stored('value');
  for (const fresh of ['0x0000000000fff', ' 00000000000001', '-00000000000001', '1e0000000000010', '00000000000.500']) {
    const { client, tier } = setup();
    client.values.set('p:k', Buffer.from(bytes.toString('latin1').replace('9'.repeat(15), fresh), 'latin1'));
    const read = tier.get('k');
    client.asked[0]?.answer();
    await endOfTick();
    client.asked[1]?.answer(1);
    expect(await read).toBeUndefined();
  }
});
