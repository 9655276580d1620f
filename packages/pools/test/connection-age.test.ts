import { Socket } from 'node:net';
import { expect, it } from 'vitest';
import { ownDatabase } from './own-database.ts';

const open = ownDatabase();

it('those that are due together are replaced one after the other where there is no room for more', async () => {
  const sockets = new Set<Socket>();
  let most = 0;
  const stream = (): Socket => {
    const socket = new Socket();
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    most = Math.max(most, sockets.size);
    return socket;
  };
  await using pool = open({ minSize: 3, maxSize: 4, maxLifetimeMs: 200, random: () => 0, connection: { stream } });
  await pool.start();
  const sizes = new Set<number>();
  const lifetime = (): number => {
    sizes.add(pool.stats().size);
    return pool.stats().destroyed.lifetime ?? 0;
  };
  await expect.poll(lifetime, { interval: 1, timeout: 5_000 }).toBeGreaterThanOrEqual(3);
  expect(Math.min(...sizes)).toBeGreaterThanOrEqual(3);
  // One that is being closed may still be there for a moment.
  expect(most).toBeLessThanOrEqual(5);
});
