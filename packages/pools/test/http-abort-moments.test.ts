import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { afterEach, expect, it } from 'vitest';
import { atEnd, cleanUp, open, serve } from './http-server.ts';

afterEach(cleanUp);

/** Calls `fn` once, in a microtask that comes before those of whoever undici tells next. */
function atNext(channel: string, fn: () => void): void {
  const listener = (): void => {
    unsubscribe(channel, listener);
    queueMicrotask(fn);
  };
  subscribe(channel, listener);
  atEnd(() => unsubscribe(channel, listener));
}

it('an abort that comes as a request is about to be repeated leaves it at that', async () => {
  const asked: string[] = [];
  const { url } = await serve((request, response) => {
    asked.push(request.url ?? '');
    // A kept connection that is closed just as it is used again: the request may be repeated.
    if (request.url === '/lost') request.socket.destroy();
    else response.end('ok');
  });
  const http = open();
  await (await http.get(`${url}/first`)).text();
  await expect.poll(() => http.stats().idle).toBe(1);
  const controller = new AbortController();
  atNext('undici:request:error', () => controller.abort('gone'));
  await expect(http.get(`${url}/lost`, { signal: controller.signal })).rejects.toBe('gone');
  expect(await (await http.get(`${url}/last`)).text()).toBe('ok');
  expect(asked).toEqual(['/first', '/lost', '/last']);
  expect(http.stats()).toMatchObject({ retries: 0, inFlight: 0, failures: {} });
});

it('an abort that comes as a redirect is about to be followed leaves it at that', async () => {
  const asked: string[] = [];
  const { url } = await serve((request, response) => {
    asked.push(request.url ?? '');
    if (request.url === '/old') response.writeHead(302, { location: '/new' }).end();
    else response.end('ok');
  });
  const http = open();
  const controller = new AbortController();
  atNext('undici:request:headers', () => controller.abort('gone'));
  await expect(http.get(`${url}/old`, { signal: controller.signal })).rejects.toBe('gone');
  expect(await (await http.get(`${url}/last`)).text()).toBe('ok');
  expect(asked).toEqual(['/old', '/last']);
  expect(http.stats()).toMatchObject({ inFlight: 0, failures: {} });
});
