import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { createHttpApp } from '../../src/http-app.ts';
import { createLogger } from '../../src/logger.ts';
import { eventually } from '../demo.ts';

// Each request for /readyz, which anybody may send and none of which is shed, took a connection to the database for itself: a few hundred at once
// made every tool call wait.

test('however many ask whether the server is ready, the database is asked once at a time', async () => {
  const asked: (() => void)[] = [];
  const dependencies = {
    config: readConfig([]),
    logger: createLogger('silent'),
    admission: { tryAcquire: () => undefined, acquire: () => Promise.reject(new Error('not asked for')) },
    metrics: { handler: () => {} },
    postgres: { query: () => new Promise<void>((resolve) => asked.push(resolve)) },
    redis: { ping: () => Promise.resolve('PONG') },
  };
  const app: RequestListener = createHttpApp(dependencies as any, [], () => draining);
  let draining = false;
  let arrived = 0;
  const server = createServer((request, response) => {
    arrived++;
    app(request, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const ready = () => fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/readyz`);

  const crowd = Array.from({ length: 20 }, ready);
  await eventually(() => arrived === 20);
  expect(asked).toHaveLength(1);
  asked[0]?.();
  for (const response of await Promise.all(crowd)) {
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ postgres: true, redis: true, accepting: true });
  }

  // What was true for them need not be for those who ask later.
  const later = ready();
  await eventually(() => asked.length === 2);
  asked[1]?.();
  expect((await later).status).toBe(200);
  draining = true;
  const last = ready();
  await eventually(() => asked.length === 3);
  asked[2]?.();
  expect((await last).status).toBe(503);
  server.close();
});
