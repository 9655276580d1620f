import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { ConcurrencyLimiter, RateLimiter } from '@x/backpressure';
import { identify, limitedTool, rateLimitedTool } from '@x/backpressure/mcp';
import { ManualClock } from '@x/testkit';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

type Result = { content: { type: 'text'; text: string }[]; isError?: boolean; _meta?: Record<string, unknown> };

const ok = (text: string): Result => ({ content: [{ type: 'text', text }] });

describe('a limited tool', () => {
  test('tells the model through the SDK’s own client that it is busy, with the schema of its output intact', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1, maxQueue: 0, random: () => 0, clock: new ManualClock() });
    const server = new McpServer({ name: 'test', version: '1' });
    let end = (): void => {};
    server.registerTool(
      'search',
      { inputSchema: { query: z.string() }, outputSchema: { hits: z.number() } },
      limitedTool(
        limiter,
        async ({ query }, extra) => {
          expect(extra.signal).toBeInstanceOf(AbortSignal);
          await new Promise<void>((resolve) => {
            end = resolve;
          });
          return { content: [{ type: 'text', text: query }], structuredContent: { hits: 1 } };
        },
        { name: 'search' },
      ),
    );
    server.registerTool(
      'ping',
      {},
      limitedTool(limiter, async ({ signal }) => ({ content: [{ type: 'text', text: String(signal.aborted) }] })),
    );
    const client = new Client({ name: 'test', version: '1' });
    const [a, b] = InMemoryTransport.createLinkedPair();
    await Promise.all([server.connect(a), client.connect(b)]);
    await client.listTools();

    const running = client.callTool({ name: 'search', arguments: { query: 'x' } });
    const refused = await client.callTool({ name: 'search', arguments: { query: 'y' } });
    expect(refused).toEqual({
      isError: true,
      content: [
        {
          type: 'text',
          text: '"search" is busy: too many calls are waiting for it. Nothing was done. Try again in 1 second.',
        },
      ],
      _meta: { 'x/error': { code: 'ERR_OVERLOADED', reason: 'queue_full', retryAfterMs: 1_000 } },
    });
    end();
    expect(await running).toMatchObject({ structuredContent: { hits: 1 } });
    expect(await client.callTool({ name: 'ping' })).toMatchObject({ content: [{ text: 'false' }] });
    await client.close();
  });

  test('a time-out aborts the handler’s signal, in the context of either SDK, and is told as a result', async () => {
    const clock = new ManualClock();
    const limiter = new ConcurrencyLimiter({ limit: 2, clock });
    const seen: AbortSignal[] = [];
    const outer = new AbortController().signal;
    const first = limitedTool(
      limiter,
      (_args: object, ctx: { signal: AbortSignal; requestId: number }) => {
        seen.push(ctx.signal);
        expect(ctx.requestId).toBe(7);
        return new Promise<Result>(() => {});
      },
      { name: 'slow', timeoutMs: 1_500 },
    );
    const second = limitedTool(
      limiter,
      (ctx: { mcpReq: { signal: AbortSignal; id: number } }) => {
        seen.push(ctx.mcpReq.signal);
        expect(ctx.mcpReq.id).toBe(8);
        return new Promise<Result>(() => {});
      },
      { timeoutMs: 1_500 },
    );
    const results = [first({}, { signal: outer, requestId: 7 }), second({ mcpReq: { signal: outer, id: 8 } })];
    await clock.advance(1_500);
    expect(await Promise.all(results)).toEqual([
      {
        isError: true,
        content: [
          {
            type: 'text',
            text: '"slow" did not finish within 2 seconds and was stopped. Ask for less at once, or try again later.',
          },
        ],
        _meta: { 'x/error': { code: 'ERR_TIMEOUT', reason: 'timeout' } },
      },
      expect.objectContaining({ isError: true }),
    ]);
    expect(seen.map((signal) => signal.aborted)).toEqual([true, true]);
  });

  test('what the handler throws passes through, also when it looks like a refusal', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1 });
    const inner = Object.assign(new Error('inner'), { code: 'ERR_OVERLOADED', reason: 'queue_full', retryAfterMs: 5 });
    const tool = limitedTool(limiter, async (_ctx: object): Promise<Result> => {
      throw inner;
    });
    await expect(tool({})).rejects.toBe(inner);
  });

  test('what a limiter of somebody else’s says without a time is no refusal, but its error', async () => {
    for (const fields of [
      { code: 'ERR_TIMEOUT' },
      { code: 'ERR_OVERLOADED', reason: 'queue_full' },
      { code: 'OTHER' },
    ]) {
      const error = Object.assign(new Error('of theirs'), fields);
      const tool = limitedTool({ run: () => Promise.reject(error) }, async (_ctx: object) => ok('x'));
      await expect(tool({})).rejects.toBe(error);
    }
  });

  test('a call that is cancelled while it waits leaves the queue', async () => {
    const limiter = new ConcurrencyLimiter({ limit: 1 });
    const permit = limiter.tryAcquire();
    const tool = limitedTool(limiter, async (_args: object, _ctx: object) => ok('x'));
    const controller = new AbortController();
    const call = tool({}, { signal: controller.signal });
    expect(limiter.stats().queued).toBe(1);
    controller.abort(new Error('cancelled'));
    await expect(call).rejects.toThrow('cancelled');
    expect(limiter.stats().queued).toBe(0);
    permit?.release();
  });

  test('key and priority reach the limiter', async () => {
    const seen: unknown[] = [];
    const limiter = {
      run: async <T>(fn: (context: { signal: AbortSignal }) => T | PromiseLike<T>, options: object): Promise<T> => {
        seen.push(options);
        return fn({ signal: new AbortController().signal });
      },
    };
    const tool = limitedTool(limiter, async (_ctx: object) => ok('x'), { key: identify, priority: () => 'critical' });
    await tool({ authInfo: { token: '', scopes: [], extra: { sub: 'u1' } } });
    await limitedTool(limiter, async (_ctx: object) => ok('x'), { priority: 'sheddable' })({});
    expect(seen).toEqual([{ key: '["user","client","","u1",[]]', priority: 'critical' }, { priority: 'sheddable' }]);
  });
});

describe('a rate-limited tool', () => {
  test('counts each caller for itself, and all who do not say who they are as one', async () => {
    const rateLimiter = new RateLimiter({ limit: 1, intervalMs: 60_000, clock: new ManualClock() });
    const tool = rateLimitedTool(rateLimiter, async (_args: object, _ctx: object) => ok('x'), {
      name: 'search',
      random: () => 0,
    });
    const of = (sub: string) => ({ authInfo: { token: 't', scopes: [], extra: { sub } } });
    expect(await tool({}, of('u1'))).toEqual(ok('x'));
    expect(await tool({}, of('u2'))).toEqual(ok('x'));
    expect(await tool({}, of('u1'))).toEqual({
      isError: true,
      content: [{ type: 'text', text: '"search" was called too often. Nothing was done. Try again in 60 seconds.' }],
      _meta: { 'x/error': { code: 'ERR_OVERLOADED', reason: 'rate_limited', retryAfterMs: 60_000 } },
    });
    expect(await tool({}, {})).toEqual(ok('x'));
    expect(await tool({}, { authInfo: { token: '' } })).toMatchObject({ isError: true });
  });

  test('nobody can choose the name that the nameless share', async () => {
    const rateLimiter = new RateLimiter({ limit: 1, intervalMs: 60_000, clock: new ManualClock() });
    const names = ['anyone', undefined, 'caller:anyone'];
    const tool = rateLimitedTool(rateLimiter, async (_ctx: object) => ok('x'), { key: () => names.shift() });
    for (let n = 0; n < 3; n++) expect(await tool({})).toEqual(ok('x'));
  });

  test('takes key and cost as told', async () => {
    const rateLimiter = new RateLimiter({ limit: 4, intervalMs: 1_000, clock: new ManualClock() });
    const tool = rateLimitedTool(rateLimiter, async (_ctx: object) => ok('x'), {
      key: () => 'all',
      cost: 3,
      random: () => 0,
    });
    expect(await tool({})).toEqual(ok('x'));
    expect(await tool({})).toMatchObject({ _meta: { 'x/error': { retryAfterMs: 500 } } });
  });
});

describe('a rate-limited tool over a limiter that asks another process', () => {
  const asking = (verdict: object) => {
    const seen: { key: string; options: { cost?: number; signal?: AbortSignal } }[] = [];
    const rateLimiter = {
      consume: async (key: string, options: { cost?: number; signal?: AbortSignal }) => {
        seen.push({ key, options });
        options.signal?.throwIfAborted();
        return { allowed: false, retryAfterMs: 2_000, ...verdict };
      },
    };
    return { rateLimiter, seen };
  };
  const error = (result: Result) => result._meta?.['x/error'] as { reason: string; retryAfterMs: number };

  test.each([
    ['of 1.x', (signal: AbortSignal) => ({ signal })],
    ['of 2.x', (signal: AbortSignal) => ({ mcpReq: { signal } })],
  ])('hands the request’s signal on, in a context %s', async (_which, contextWith) => {
    const { rateLimiter, seen } = asking({});
    const tool = rateLimitedTool(rateLimiter, async (_ctx: object) => ok('x'), { cost: 2 });
    const controller = new AbortController();
    await tool(contextWith(controller.signal));
    await tool({});
    expect(seen).toEqual([
      { key: 'anyone', options: { cost: 2, signal: controller.signal } },
      { key: 'anyone', options: { cost: 2 } },
    ]);
    controller.abort(new Error('gone'));
    await expect(tool(contextWith(controller.signal))).rejects.toThrow('gone');
  });

  test('tells waits that differ, never less than what it was told, at most half as much again and 5 s more', async () => {
    const told = async (retryAfterMs: number, random: number) => {
      const { rateLimiter } = asking({ retryAfterMs });
      return error(await rateLimitedTool(rateLimiter, async (_ctx: object) => ok('x'), { random: () => random })({}));
    };
    expect(await told(2_000, 0)).toMatchObject({ reason: 'rate_limited', retryAfterMs: 2_000 });
    expect(await told(2_000, 0.5)).toMatchObject({ retryAfterMs: 2_500 });
    expect(await told(60_000, 0.999)).toMatchObject({ retryAfterMs: 64_995 });
  });

  test('says that it is not available where nothing could be asked: that is not the caller’s fault', async () => {
    const { rateLimiter } = asking({ decidedBy: 'deny' });
    const tool = rateLimitedTool(rateLimiter, async (_ctx: object) => ok('x'), { random: () => 0, name: 'search' });
    expect(await tool({})).toEqual({
      isError: true,
      content: [
        {
          type: 'text',
          text: '"search" is not available for the moment. Nothing was done. Try again in 2 seconds.',
        },
      ],
      _meta: { 'x/error': { code: 'ERR_OVERLOADED', reason: 'rate_limiter_unavailable', retryAfterMs: 2_000 } },
    });
  });
});

describe('who calls', () => {
  test('is issuer, subject and scopes, in either SDK’s context', () => {
    const authInfo = { token: 't', scopes: ['b', 'a'], extra: { iss: 'https://id.example', sub: 'u1' } };
    expect(identify({ authInfo })).toBe('["user","issuer","https://id.example","u1",["a","b"]]');
    expect(identify({ http: { authInfo } })).toBe(identify({ authInfo }));
    expect(identify({ authInfo: { extra: { issuer: 'i', subject: 's' } } })).toBe('["user","issuer","i","s",[]]');
    const ofApp = (clientId: string) => identify({ authInfo: { clientId, extra: { sub: 'u1' } } });
    expect(ofApp('one')).not.toBe(ofApp('two'));
  });

  test('is the same in whatever way the scopes are given, and the list goes before the text', () => {
    const of = (scopes: string[] | undefined, scope?: string) =>
      identify({ authInfo: { ...(scopes && { scopes }), extra: { sub: 'u1', scope } } });
    expect(of(['b', 'a', 'b'])).toBe('["user","client","","u1",["a","b"]]');
    expect(of([], ' b  a b ')).toBe(of(['a', 'b']));
    expect(of(['a'], 'a b')).toBe(of(['a']));
  });

  test('is in the context of 2.x what it has of the request', () => {
    const [one, other] = [{ token: 'one' }, { token: 'other' }];
    expect(identify({ mcpReq: {}, http: { authInfo: one }, authInfo: other })).toBe(identify({ authInfo: one }));
    expect(identify({ mcpReq: {}, authInfo: one })).toBe(identify({ authInfo: one }));
  });

  test('is else a hash of the token, and nobody without one', () => {
    const hash = identify({ authInfo: { token: 'secret' } });
    expect(hash).not.toContain('secret');
    expect(identify({ authInfo: { token: 'secret' } })).toBe(hash);
    expect(identify({ authInfo: { token: 'other' } })).not.toBe(hash);
    expect(identify({})).toBeUndefined();
    expect(identify({ authInfo: { token: '', extra: { clientId: 'app' } } })).toBeUndefined();
  });
});
