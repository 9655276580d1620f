import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { HttpPool } from '@x/pools/http';
import { fetch } from 'undici';
import { expect, test } from 'vitest';

test('close() lets what runs through the dispatcher end', async () => {
  let answer: ((response: ServerResponse) => void) | undefined;
  const asked = new Promise<ServerResponse>((resolve) => {
    answer = resolve;
  });
  const server = createServer((_request, response) => answer?.(response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const pool = new HttpPool();
  const text = fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, {
    dispatcher: pool.dispatcher,
  }).then((response) => response.text());
  const response = await asked;
  let closed = false;
  const closing = pool.close().then(() => {
    closed = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(closed).toBe(false);
  response.end('whole');
  expect(await text).toBe('whole');
  await closing;
  server.close();
});
