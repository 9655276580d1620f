import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { TcpProxy } from '@x/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';

const echo = createServer((socket) => socket.pipe(socket).on('error', () => {}));

beforeAll(async () => {
  echo.listen(0, '127.0.0.1');
  await once(echo, 'listening');
});
afterAll(() => void echo.close());

const startProxy = () => TcpProxy.start(`127.0.0.1:${(echo.address() as AddressInfo).port}`);

async function dial(proxy: TcpProxy) {
  const socket = connect(proxy.port, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** `once(socket, 'close')` would reject on the reset that is expected here. */
const closed = (socket: Socket) => new Promise<void>((resolve) => socket.once('close', () => resolve()));

test('bytes pass through unchanged', async () => {
  await using proxy = await startProxy();
  const socket = await dial(proxy);
  socket.write('hello');
  expect(String((await once(socket, 'data'))[0])).toBe('hello');
  socket.destroy();
});

test('a black hole swallows bytes and keeps the connection', async () => {
  await using proxy = await startProxy();
  const socket = await dial(proxy);
  let got = '';
  socket.on('data', (chunk) => {
    got += chunk;
  });
  proxy.faults.blackHole = true;
  socket.write('lost');
  // The chunk after the fault is lifted proves that the one before it was swallowed and not merely late.
  await new Promise((resolve) => setTimeout(resolve, 50));
  proxy.faults.blackHole = false;
  socket.write('kept');
  await once(socket, 'data');
  expect(got).toBe('kept');
  socket.destroy();
});

test('resetAll cuts open connections, and a refusing proxy closes new ones', async () => {
  await using proxy = await startProxy();
  const socket = await dial(proxy);
  socket.write('x');
  await once(socket, 'data');
  proxy.resetAll();
  await closed(socket);
  proxy.faults.refuse = true;
  const refused = await dial(proxy);
  refused.resume();
  await closed(refused);
});

test('delay holds every chunk back', async () => {
  await using proxy = await startProxy();
  const socket = await dial(proxy);
  proxy.faults.delayMs = 40;
  const start = performance.now();
  socket.write('slow');
  await once(socket, 'data');
  expect(performance.now() - start).toBeGreaterThanOrEqual(75);
  socket.destroy();
});
