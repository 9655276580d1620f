import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { ConcurrencyLimiter } from '@x/backpressure';
import { type RequestHandler, requestSignal } from '@x/backpressure/http';
import { expect, test } from 'vitest';
import { serve, watchUncaught } from '../admission-server.ts';

// What went wrong while a body was read was taken for the client's leave, since `pipeline` destroys the request with it: no answer, nobody
// told, and the permit was held for ever. Where the answer had begun an error of the gate's own ended the process, for `pipeline` also
// takes the request's socket away.

const uncaught = watchUncaught();
const unzip = (from: NodeJS.ReadableStream) =>
  pipeline(from, createGunzip(), new Writable({ write: (_chunk, _encoding, done) => done() }));

/** Sends the beginning of a body that is no gzip, and the rest once there is an answer. */
async function sendsNoGzip(handler: RequestHandler) {
  const limiter = new ConcurrencyLimiter({ limit: 2 });
  const told: unknown[] = [];
  const { port } = await serve(handler, { limiter, onError: (error) => told.push(error) });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const post = request({ port, host: '127.0.0.1', agent, method: 'POST', headers: { 'content-length': 100_000 } });
  post.on('error', () => {});
  post.write('this is no gzip');
  const [response] = await once(post, 'response');
  const closed = new Promise((resolve) => response.once('close', resolve));
  response.on('error', () => {}).resume();
  post.end(Buffer.alloc(100_000 - 15));
  await closed;
  await limiter.onIdle();
  return { told, status: response.statusCode, complete: response.complete, port, agent };
}

test('a body that cannot be read is a failure like any other, and the next request is answered', async () => {
  const { told, status, port, agent } = await sendsNoGzip(async (incoming, response) => {
    if (incoming.method === 'POST') await unzip(incoming);
    response.end('done');
  });
  expect(status).toBe(500);
  expect(told).toMatchObject([{ code: 'Z_DATA_ERROR' }]);
  const next = request({ port, host: '127.0.0.1', agent }).end();
  const [response] = await once(next, 'response');
  expect(response.statusCode).toBe(200);
  response.resume();
  agent.destroy();
});

test('so it is where the signal was asked for, before or after', async () => {
  for (const when of ['before', 'after']) {
    const { told, status, agent } = await sendsNoGzip(async (incoming, response) => {
      if (when === 'before') requestSignal(incoming, response);
      await unzip(incoming).finally(() => requestSignal(incoming, response));
    });
    expect(status).toBe(500);
    expect(told).toMatchObject([{ code: 'Z_DATA_ERROR' }]);
    agent.destroy();
  }
});

test('where the answer has begun the connection is cut, and the process goes on', async () => {
  const { told, complete, agent } = await sendsNoGzip(async (incoming, response) => {
    response.writeHead(200).write('begun');
    await unzip(incoming);
  });
  expect(complete).toBe(false);
  expect(told).toMatchObject([{ code: 'Z_DATA_ERROR' }]);
  expect(uncaught).toEqual([]);
  agent.destroy();
});

test('one that the handler itself destroys is no client that has gone', async () => {
  const told: unknown[] = [];
  const tooMuch = new Error('too much');
  const { url } = await serve(
    async (incoming) => {
      incoming.destroy(tooMuch);
      throw tooMuch;
    },
    { limiter: new ConcurrencyLimiter({ limit: 1 }), onError: (error) => told.push(error) },
  );
  await expect(fetch(url, { method: 'POST', body: 'x' })).rejects.toThrow();
  expect(told).toEqual([tooMuch]);
});
