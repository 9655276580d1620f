import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { type AuthInfo, createMcpHandler, McpServer, type ServerContext } from '@modelcontextprotocol/server';
import { Cache } from '@x/cache';
import { type CachedToolOptions, cachedTool, responseCacheStore, withCacheHint } from '@x/cache/mcp';
import { RedisTier } from '@x/cache/redis';
import { startRedis } from '@x/local-services';
import { ManualClock } from '@x/testkit';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';

const MODERN = '2026-07-28';
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** The SDK's own server behind its own HTTP handler; who calls is said by the Authorization header. */
function serve(build: (server: McpServer) => void, capabilities: object = {}) {
  const requests: string[] = [];
  const handler = createMcpHandler(() => {
    const cacheHints = { 'tools/list': { ttlMs: 60_000, cacheScope: 'public' as const } };
    const server = new McpServer({ name: 'test', version: '1' }, { capabilities, cacheHints });
    build(server);
    return server;
  });
  cleanups.push(() => handler.close());
  const fetch = async (url: string | URL, init?: RequestInit) => {
    const request = new Request(url, init);
    const token = request.headers.get('authorization')?.slice('Bearer '.length);
    const { method } = JSON.parse(String(init?.body ?? '{}')) as { method?: string };
    if (method !== undefined) requests.push(method);
    const [user, version] = token?.split('.') ?? [];
    const authInfo: AuthInfo | undefined = user
      ? { token: `${user}.${version}`, clientId: 'the app', scopes: ['read'], extra: { sub: user, iss: 'https://id' } }
      : undefined;
    return handler.fetch(request, { ...(authInfo && { authInfo }) });
  };
  return { requests, handler, fetch };
}

async function connect(
  fetch: (url: string | URL, init?: RequestInit) => Promise<Response>,
  { token, era = MODERN, ...options }: { token?: string; era?: string } & ConstructorParameters<typeof Client>[1] = {},
): Promise<Client> {
  const mode = era === 'legacy' ? ('legacy' as const) : { pin: era };
  const client = new Client({ name: 'test', version: '1' }, { ...options, versionNegotiation: { mode } });
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  await client.connect(
    new StreamableHTTPClientTransport(new URL('http://127.0.0.1/mcp'), { fetch, requestInit: { headers } }),
  );
  cleanups.push(() => client.close());
  return client;
}

describe.each([MODERN, 'legacy'])('cachedTool under @modelcontextprotocol/server 2.x, %s', (era) => {
  function tool(options: Partial<CachedToolOptions> = {}) {
    const cache = new Cache();
    const seen: ServerContext[] = [];
    let calls = 0;
    const whoami = cachedTool(
      cache,
      async ({ city = 'Oslo' }: { city?: string | undefined }, ctx: ServerContext) => {
        seen.push(ctx);
        const user = ctx.http?.authInfo?.extra?.sub;
        return { content: [{ type: 'text' as const, text: `${user} ${city} ${++calls}` }] };
      },
      { name: 'whoami', readOnly: true, ...options },
    );
    const served = serve((server) => {
      server.registerTool(
        'whoami',
        { inputSchema: z.object({ city: z.string().optional() }), annotations: { readOnlyHint: true } },
        whoami,
      );
    });
    const call = async (client: Client, args: object = {}) => {
      const result = await client.callTool({ name: 'whoami', arguments: { ...args } });
      return { text: (result.content[0] as { text: string }).text, origin: result._meta?.['x/cache'] };
    };
    return { ...served, call, seen, cache };
  }

  test('two users of one OAuth client never share; a new token of the same user does not go cold', async () => {
    const { fetch, call, cache } = tool();
    const [ann, bob, annAgain] = [
      await connect(fetch, { token: 'ann.1', era }),
      await connect(fetch, { token: 'bob.1', era }),
      await connect(fetch, { token: 'ann.2', era }),
    ];
    expect((await call(ann)).text).toBe('ann Oslo 1');
    expect((await call(bob)).text).toBe('bob Oslo 2');
    expect(await call(annAgain)).toEqual({
      text: 'ann Oslo 1',
      origin: { tier: 'memory', ageMs: expect.any(Number), stale: false },
    });
    expect((await call(bob)).text).toBe('bob Oslo 2');
    expect((await call(ann, { city: 'Bergen' })).text).toBe('ann Bergen 3');
    expect(cache.stats()).toMatchObject({ loads: 3, hitsMemory: 2 });
  });

  test('no user, no caching', async () => {
    const { fetch, call, cache } = tool();
    const nobody = await connect(fetch, { era });
    expect([(await call(nobody)).text, (await call(nobody)).text]).toEqual(['undefined Oslo 1', 'undefined Oslo 2']);
    expect(cache.stats()).toMatchObject({ entries: 0, loads: 0 });
  });

  test('what is public is shared, and its load sees nobody', async () => {
    const { fetch, call, seen } = tool({ scope: 'public' });
    const [ann, bob] = [await connect(fetch, { token: 'ann.1', era }), await connect(fetch, { token: 'bob.1', era })];
    expect([(await call(ann)).text, (await call(bob)).text]).toEqual(['undefined Oslo 1', 'undefined Oslo 1']);
    expect(seen).toHaveLength(1);
    expect(seen[0]?.http?.authInfo).toBeUndefined();
    expect(seen[0]?.mcpReq.id).toBe('shared');
  });

  test('a caller who cancels ends its own wait, not the shared load', async () => {
    const cache = new Cache();
    let finish: () => void = () => {};
    let started = 0;
    const slow = cachedTool(
      cache,
      () => {
        started++;
        return new Promise<{ content: { type: 'text'; text: string }[] }>((resolve) => {
          finish = () => resolve({ content: [{ type: 'text', text: 'done' }] });
        });
      },
      { name: 'slow', readOnly: true, scope: 'public' },
    );
    const { fetch } = serve((server) => void server.registerTool('slow', {}, slow));
    const [first, second] = [await connect(fetch, { era }), await connect(fetch, { era })];
    const caller = new AbortController();
    const leaving = first.callTool({ name: 'slow' }, { signal: caller.signal });
    const left = expect(leaving).rejects.toThrow();
    while (started === 0) await new Promise((resolve) => setImmediate(resolve));
    const staying = second.callTool({ name: 'slow' });
    while (cache.stats().sharedWaits === 0) await new Promise((resolve) => setImmediate(resolve));
    caller.abort();
    await left;
    finish();
    expect((await staying).content).toEqual([{ type: 'text', text: 'done' }]);
    expect(started).toBe(1);
  });
});

test('a tool that asks its caller for input is run for each caller, and its answer is not kept', async () => {
  const cache = new Cache();
  let runs = 0;
  const ask = cachedTool(
    cache,
    async (_args: object, ctx: ServerContext) => {
      runs++;
      const answer = ctx.mcpReq.inputResponses?.name as { content?: { name?: string } } | undefined;
      if (answer === undefined) {
        return {
          resultType: 'input_required' as const,
          inputRequests: {
            name: {
              method: 'elicitation/create' as const,
              params: {
                mode: 'form' as const,
                message: 'Who?',
                requestedSchema: { type: 'object' as const, properties: { name: { type: 'string' as const } } },
              },
            },
          },
        };
      }
      return { content: [{ type: 'text' as const, text: `Hello ${answer.content?.name}` }] };
    },
    { name: 'ask', readOnly: true, scope: 'public' },
  );
  const { fetch } = serve((server) => void server.registerTool('ask', { inputSchema: z.object({}) }, ask));
  for (const name of ['Ann', 'Bob']) {
    const client = await connect(fetch, { capabilities: { elicitation: { form: {} } } });
    client.setRequestHandler('elicitation/create', async () => ({ action: 'accept' as const, content: { name } }));
    expect((await client.callTool({ name: 'ask', arguments: {} })).content).toEqual([
      { type: 'text', text: `Hello ${name}` },
    ]);
  }
  expect(runs).toBeGreaterThanOrEqual(4);
  expect(cache.stats().entries).toBe(0);
});

describe.each(['memory', 'Redis'])('responseCacheStore over %s', (where) => {
  async function caches(): Promise<() => Cache> {
    if (where === 'memory') {
      const cache = new Cache();
      return () => cache;
    }
    const service = await startRedis();
    cleanups.push(() => service[Symbol.asyncDispose]());
    return () => {
      const client = new Redis(service.url);
      const remote = new RedisTier({ client, prefix: 'mcp:' });
      const cache = new Cache({ remote, scopeSecret: 'the same in all processes' });
      cleanups.push(() => {
        client.disconnect();
        return cache.close();
      });
      return cache;
    };
  }

  function resources(cacheScope: 'public' | 'private') {
    let reads = 0;
    return serve(
      (server) => {
        server.registerTool('noop', {}, async () => ({ content: [] }));
        server.registerResource('r', 'test://r', { cacheHint: { ttlMs: 60_000, cacheScope } }, async (uri, ctx) => ({
          contents: [{ uri: uri.href, text: `${ctx.http?.authInfo?.extra?.sub} ${++reads}` }],
        }));
      },
      { tools: {}, resources: {} },
    );
  }
  const textOf = async (client: Client, cacheMode: 'use' | 'refresh' = 'use') => {
    const { contents } = await client.readResource({ uri: 'test://r' }, { cacheMode });
    return (contents[0] as { text: string }).text;
  };

  test('what one client read, another one in another process is served, if it is public', async () => {
    const cache = await caches();
    const { fetch, requests } = resources('public');
    const one = await connect(fetch, {
      responseCacheStore: responseCacheStore(cache()),
      cachePartition: 'ann',
      token: 'ann.1',
    });
    const two = await connect(fetch, {
      responseCacheStore: responseCacheStore(cache()),
      cachePartition: 'bob',
      token: 'bob.1',
    });
    expect([await textOf(one), await textOf(one), await textOf(two)]).toEqual(['ann 1', 'ann 1', 'ann 1']);
    expect(requests.filter((method) => method === 'resources/read')).toHaveLength(1);
    expect(await textOf(two, 'refresh')).toBe('bob 2');
  });

  test('what is private stays with its user', async () => {
    const cache = await caches();
    const { fetch } = resources('private');
    const ofUser = (user: string) =>
      connect(fetch, { responseCacheStore: responseCacheStore(cache()), cachePartition: user, token: `${user}.1` });
    const [ann, bob, annElsewhere] = [await ofUser('ann'), await ofUser('bob'), await ofUser('ann')];
    expect([await textOf(ann), await textOf(bob), await textOf(annElsewhere)]).toEqual(['ann 1', 'bob 2', 'ann 1']);
  });

  test('it does what the client’s own store does', async () => {
    const store = responseCacheStore((await caches())());
    const key = { method: 'resources/read', params: 'test://a', partition: '["s",""]' };
    const later = Date.now() + 60_000;
    expect(await store.get(key)).toBeUndefined();
    const first = await store.set(key, { value: '{"a":1}', expiresAt: later, scope: 'public' });
    const second = await store.set(key, { value: '{"a":2}', expiresAt: later });
    expect(second).toBeGreaterThan(first);
    expect(await store.get(key)).toEqual({ value: '{"a":2}', stamp: second, expiresAt: later });
    // Each part of the key counts, and what is left out is empty.
    for (const other of [
      { ...key, partition: '["s","ann"]' },
      { ...key, params: 'test://b' },
      { ...key, method: 'x' },
      { method: key.method },
    ]) {
      expect(await store.get(other)).toBeUndefined();
    }
    await store.set({ method: 'tools/list' }, { value: '{}' });
    expect(await store.get({ method: 'tools/list', params: '', partition: '' })).toMatchObject({ value: '{}' });
    // A URI may be longer than any key, and be told from one that differs at its end alone.
    const long = { ...key, params: `test://${'x'.repeat(20_000)}` };
    await store.set(long, { value: '{"long":1}', expiresAt: later });
    expect(await store.get(long)).toMatchObject({ value: '{"long":1}' });
    expect(await store.get({ ...long, params: `${long.params}y` })).toBeUndefined();
    await store.delete(key);
    expect(await store.get(key)).toBeUndefined();
    await store.set({ ...key, partition: 'other' }, { value: '{}', expiresAt: later });
    await store.evict('resources/read');
    expect(await store.get(long)).toBeUndefined();
    expect(await store.get({ ...key, partition: 'other' })).toBeUndefined();
    expect(await store.get({ method: 'tools/list' })).toBeDefined();
    await store.clear();
    expect(await store.get({ method: 'tools/list' })).toBeUndefined();
    // Already over: kept for nobody.
    await store.set(key, { value: '{}', expiresAt: Date.now() - 1 });
    expect(await store.get(key)).toBeUndefined();
  });
});

test('a list_changed notification takes the list out of the shared store', async () => {
  const cache = new Cache();
  const { fetch, requests, handler } = serve(
    (server) => void server.registerTool('t', {}, async () => ({ content: [] })),
    { tools: { listChanged: true } },
  );
  const store = responseCacheStore(cache);
  const changed: unknown[] = [];
  const client = await connect(fetch, {
    responseCacheStore: store,
    listChanged: { tools: { onChanged: (error, tools) => changed.push(error ?? tools) } },
  });
  await client.listTools();
  await client.listTools();
  const lists = () => requests.filter((method) => method === 'tools/list').length;
  expect(lists()).toBe(1);
  handler.notify.toolsChanged();
  while (changed.length === 0) await new Promise((resolve) => setImmediate(resolve));
  expect(lists()).toBe(2);
});

test('a server passes on the freshness that remains, and the client keeps to it', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ ttlMs: 60_000, clock });
  let loads = 0;
  const { fetch } = serve(
    (server) => {
      server.registerResource('r', 'test://r', {}, async (uri) => {
        const entry = await cache.getOrSetEntry(uri.href, () => ({
          contents: [{ uri: uri.href, text: `${++loads}` }],
        }));
        return withCacheHint(entry, 'public');
      });
    },
    { resources: {} },
  );
  const client = await connect(fetch);
  const read = () => client.readResource({ uri: 'test://r' }, { cacheMode: 'bypass' });
  expect(await read()).toMatchObject({ ttlMs: 60_000, cacheScope: 'public' });
  await clock.advance(48_000.4);
  expect(await read()).toMatchObject({ ttlMs: 11_999, cacheScope: 'public', contents: [{ text: '1' }] });
});
