import { AsyncLocalStorage } from 'node:async_hooks';
import { lookup } from 'node:dns';
import { Socket } from 'node:net';
import { PostgresPool } from '@x/pools/postgres';
import { afterEach, expect, it } from 'vitest';
import { cleanUp, open, serve } from './http-server.ts';

afterEach(cleanUp);

it('connections are opened in the context of their pool, never in that of the caller who happened to be first', async () => {
  const caller = new AsyncLocalStorage<string>();
  const seen: unknown[] = [];
  const { url } = await serve((_request, response) => response.end('ok'));
  // What answers there is no PostgreSQL, which is all the same to where the socket is made.
  const { port } = new URL(url);
  const [http, postgres] = caller.run('the owner', () => [
    open({
      lookup: (hostname, options, callback) => {
        seen.push(caller.getStore());
        lookup(hostname, options, callback);
      },
    }),
    new PostgresPool({
      minSize: 0,
      connectTimeoutMs: 200,
      connection: {
        host: '127.0.0.1',
        port: Number(port),
        stream: () => {
          seen.push(caller.getStore());
          return new Socket();
        },
      },
    }),
  ]);
  await caller.run('alice', async () => {
    await (await http.get(`http://localhost:${port}/`)).text();
    expect(caller.getStore()).toBe('alice');
    await postgres.query('select 1').catch(() => {});
    expect(caller.getStore()).toBe('alice');
  });
  await postgres.close();
  expect(seen).toEqual(['the owner', 'the owner']);
});
