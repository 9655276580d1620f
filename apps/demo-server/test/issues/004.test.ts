import { once } from 'node:events';
import { connect as dial, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { call, connect, eventually, metric, startDemo } from '../demo.ts';

test('clients that send their bodies slowly do not hold their places for long', async () => {
  await using server = await startDemo('--max-concurrency', '4', '--max-queue', '4', '--queue-timeout', '60000');
  const port = Number(new URL(server.url).port);
  const slow: Socket[] = [];
  for (let n = 0; n < 4; n++) {
    const socket = dial(port, '127.0.0.1');
    socket.on('error', () => {}).resume();
    await once(socket, 'connect');
    socket.write(
      'POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{',
    );
    slow.push(socket);
  }
  await eventually(async () => (await metric(server, /^concurrent_requests /)) === 4);
  // Waits for its turn, which comes when the slow ones have been sent away.
  const client = await connect(server.url);
  expect((await call(client, 'get_user', { user_id: 'u1' })).isError).toBeFalsy();
  await client.close();
  for (const socket of slow) socket.destroy();
}, 60_000);
