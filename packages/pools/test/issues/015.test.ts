import { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { ownDatabase } from '../own-database.ts';

// How a connection ends while something runs on it.

const open = ownDatabase();

test('a close that cuts off a query is over when the server has stopped it', async () => {
  await using watch = open();
  const sleeping = `select 1 from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'`;
  for (let n = 0; n < 5; n++) {
    const pool = open();
    const cut = expect(pool.query('select pg_sleep(60)')).rejects.toMatchObject({ code: 'ERR_POOL_CLOSED' });
    await expect.poll(() => watch.execute(sleeping)).toBe(1);
    await pool.close({ timeoutMs: 0 });
    expect(await watch.execute(sleeping)).toBe(0);
    await cut;
  }
});

test('a query whose connection is given up is told of it, whether or not the stream says that it has ended', async () => {
  const sockets: Socket[] = [];
  const stream = (): Socket => {
    const socket = new Socket();
    const emit = socket.emit.bind(socket) as (...args: unknown[]) => boolean;
    socket.emit = (...args: unknown[]) => args[0] !== 'close' && emit(...args);
    sockets.push(socket);
    return socket;
  };
  await using pool = open({ connection: { stream } });
  const client = await pool.connect();
  const query = client.query('select pg_sleep(1)');
  client.release(true);
  await expect(query).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST', sqlState: '08006' });
  expect(pool.stats()).toMatchObject({ size: 0, inUse: 0 });
  for (const socket of sockets) socket.destroy();
});
