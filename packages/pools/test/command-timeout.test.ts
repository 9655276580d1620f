import { PostgresPool } from '@x/pools/postgres';
import { ManualClock } from '@x/testkit';
import { expect, it } from 'vitest';
import { FakePostgres, message, welcome } from './fake-postgres.ts';

const answer = Buffer.concat([message('C', 'SELECT 0\0'), message('Z', 'I')]);

/** A pool of one connection to a server that answers when it is told to. */
async function start() {
  const clock = new ManualClock();
  let commands = 0;
  const fake = await FakePostgres.start((socket, n) => {
    if (n === 0) socket.write(welcome);
    else commands++;
  });
  const pool = new PostgresPool({
    connectionString: fake.url,
    minSize: 0,
    maxSize: 1,
    commandTimeoutMs: 1_000,
    maxIdleMs: Number.POSITIVE_INFINITY,
    validateAfterIdleMs: Number.POSITIVE_INFINITY,
    // A reset would be one more command, and a timer of the pool's own.
    reset: 'never',
    clock,
  });
  /** Sends a query and waits until it is there. */
  const send = async (options = {}) => {
    const sent = commands + 1;
    const outcome = pool.query('select', [], options).then(
      () => 'ok',
      (error) => error.code,
    );
    let settled = false;
    void outcome.then(() => {
      settled = true;
    });
    await expect.poll(() => commands).toBe(sent);
    return { outcome, isOver: () => settled };
  };
  const reply = async (query: { outcome: Promise<string> }) => {
    for (const socket of fake.sockets) socket.write(answer);
    expect(await query.outcome).toBe('ok');
  };
  return {
    clock,
    pool,
    send,
    reply,
    async [Symbol.asyncDispose]() {
      for (const socket of fake.sockets) socket.destroy();
      await fake[Symbol.asyncDispose]();
      await expect.poll(() => pool.stats().size).toBe(0);
      await pool.close();
    },
  };
}

it('counts for each command from when it was sent, though the timer is that of an earlier one', async () => {
  await using server = await start();
  const { clock, send, reply } = server;
  await reply(await send());
  await clock.advance(600);
  const second = await send();
  await clock.advance(999);
  expect(second.isOver()).toBe(false);
  await clock.advance(1);
  expect(second.isOver()).toBe(true);
  expect(await second.outcome).toBe('ERR_TIMEOUT');
});

it('that is shorter than that of the command before is kept as well', async () => {
  await using server = await start();
  const { clock, send, reply } = server;
  await reply(await send());
  const second = await send({ timeoutMs: 50 });
  await clock.advance(49);
  expect(second.isOver()).toBe(false);
  await clock.advance(1);
  expect(await second.outcome).toBe('ERR_TIMEOUT');
});

it('takes one timer for all commands of a connection, and none when nothing has run for as long', async () => {
  await using server = await start();
  const { clock, send, reply } = server;
  const timers = clock.pendingTimers;
  for (let n = 0; n < 5; n++) {
    await reply(await send());
    expect(clock.pendingTimers - timers).toBeLessThanOrEqual(1);
    await clock.advance(100);
  }
  await clock.advance(2_000);
  expect(clock.pendingTimers).toBe(timers);
  const endless = await send({ timeoutMs: Number.POSITIVE_INFINITY });
  expect(clock.pendingTimers).toBe(timers);
  await clock.advance(10_000);
  expect(endless.isOver()).toBe(false);
  await reply(endless);
});

it('leaves no timer behind a connection that is closed', async () => {
  const server = await start();
  await server.reply(await server.send());
  await server[Symbol.asyncDispose]();
  expect(server.clock.pendingTimers).toBe(0);
});
