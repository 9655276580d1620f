// The handler of a request that was aborted while its connection was being made was told of that twice: by the pool, and by undici,
// which was told to give the connection up before it was noted that the handler knew.
import { afterEach, expect, it } from 'vitest';
import { cleanUp, open, serve } from '../http-server.ts';

afterEach(cleanUp);

it('what goes through the dispatcher is told of its end once, also when it is aborted while it is being connected', async () => {
  const { url } = await serve((_request, response) => response.end());
  const { port } = new URL(url);
  const http = open({
    lookup: (_name, _options, callback) => setTimeout(callback, 100, null, [{ address: '127.0.0.1', family: 4 }]),
  });
  const ends: unknown[] = [];
  await new Promise<void>((resolve) => {
    http.dispatcher.dispatch(
      { origin: `http://slow.test:${port}`, path: '/', method: 'GET' },
      {
        onRequestStart: (controller) => {
          setTimeout(() => controller.abort(new Error('gone')), 10);
          setTimeout(resolve, 200);
        },
        onResponseStart: () => {},
        onResponseData: () => {},
        onResponseEnd: () => ends.push('end'),
        onResponseError: (_controller, error) => ends.push(error.message),
      },
    );
  });
  expect(ends).toEqual(['gone']);
  expect(http.stats()).toMatchObject({ connections: 0, inFlight: 0, queued: 0 });
});
