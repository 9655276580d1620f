import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Metrics } from '@x/metrics';
import { Counter, Registry } from 'prom-client';
import { expect, test } from 'vitest';

// A scrape that ends after somebody else has answered (a time-out of the server, say) rejected with
// ERR_HTTP_HEADERS_SENT where nobody listens, and Node ends a process for that.

async function answerTwice(metrics: Metrics): Promise<{ status: number; unhandled: unknown[] }> {
  const listener: RequestListener = (request, response) => {
    metrics.handler(request, response);
    response.writeHead(503).end();
  };
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const unhandled: unknown[] = [];
  const note = (error: unknown): void => void unhandled.push(error);
  process.on('unhandledRejection', note);
  try {
    const { status } = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    return { status, unhandled };
  } finally {
    process.off('unhandledRejection', note);
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

test('a scrape whose request was answered by somebody else harms nobody', async () => {
  expect(await answerTwice(new Metrics({ defaultMetrics: false }))).toEqual({ status: 503, unhandled: [] });
});

test('so does one that fails, which is told all the same', async () => {
  const registry = new Registry();
  const failure = new Error('no');
  new Counter({ name: 'bad_total', help: 'bad', registers: [registry], collect: () => Promise.reject(failure) });
  const told: unknown[] = [];
  const metrics = new Metrics({ registry, onError: (error) => told.push(error) });
  expect(await answerTwice(metrics)).toEqual({ status: 503, unhandled: [] });
  expect(told).toEqual([failure]);
});
