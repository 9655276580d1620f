import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { CircuitBreaker } from '@x/breaker';
import { classifyToolResult, guardedTool } from '@x/breaker/mcp';
import { ManualClock } from '@x/testkit';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { safeParse } from 'zod/v4/core';

const text = (words: string, isError = false) => ({ content: [{ type: 'text' as const, text: words }], isError });
const unreachable = () => Promise.reject(new Error('connect ECONNREFUSED'));

describe('guardedTool', () => {
  it('turns an open circuit into a tool result that a model can act on', async () => {
    const clock = new ManualClock();
    const breaker = new CircuitBreaker({ name: 'billing', failureThreshold: 1, recoveryTimeoutMs: 30_000, clock });
    const tool = guardedTool(breaker, async (_args: object, _ctx: object) => unreachable());
    await expect(tool({}, {})).rejects.toThrow('ECONNREFUSED');
    await clock.advance(500.25);
    const result = (await tool({}, {})) as unknown as Record<string, unknown>;
    expect(result).toEqual({
      isError: true,
      content: [{ type: 'text', text: expect.stringMatching(/"billing".*30 seconds/) }],
      _meta: { 'x/error': { code: 'ERR_CIRCUIT_OPEN', reason: 'circuit_open', retryAfterMs: 29_500 } },
    });
  });

  it('names no seconds while the circuit is forced open', async () => {
    const breaker = new CircuitBreaker();
    breaker.forceOpen();
    const result = await guardedTool(breaker, async (_ctx: object): Promise<unknown> => text('never'))({});
    expect(result).toMatchObject({ _meta: { 'x/error': { code: 'ERR_CIRCUIT_OPEN', reason: 'circuit_open' } } });
    expect(JSON.stringify(result)).not.toMatch(/second|retryAfterMs/);
  });

  it('does not black out a healthy server because of bad arguments, error results or refusals of other wrappers', async () => {
    const breaker = new CircuitBreaker({ failureThreshold: 1 });
    const refusal = { ...text('busy', true), _meta: { 'x/error': { code: 'ERR_OVERLOADED', reason: 'queue_full' } } };
    const invalid = Object.assign(new Error('Invalid params'), { code: -32_602 });
    const answers: (() => Promise<unknown>)[] = [
      async () => text('no such user', true),
      async () => refusal,
      () => Promise.reject(invalid),
      ...[-32_700, -32_600, -32_601, -32_002, -32_042].map((code) => () => Promise.reject({ code })),
      () => Promise.reject(z.string().safeParse(1).error),
      () => Promise.reject(Object.assign(new Error('not found'), { status: 404 })),
    ];
    const tool = guardedTool(breaker, async (_ctx: object) => answers.shift()?.());
    while (answers.length > 0) await Promise.resolve(tool({})).catch(() => {});
    expect(breaker.state).toBe('closed');
    expect(breaker.stats()).toMatchObject({ ignored: 10, failures: 0 });
  });

  it.each([-32_000, -32_001, -32_603, 'ECONNRESET', 'ETIMEDOUT', 'REQUEST_TIMEOUT'])(
    'counts a connection that was lost, a time-out and an internal error: %s',
    async (code) => {
      const breaker = new CircuitBreaker({ failureThreshold: 1 });
      const tool = guardedTool(breaker, async (_ctx: object): Promise<unknown> => {
        throw Object.assign(new Error('failed'), { code });
      });
      await expect(tool({})).rejects.toThrow('failed');
      expect(breaker.state).toBe('open');
    },
  );

  it('names the dependency that is down where the tool calls a second one', async () => {
    const inner = new CircuitBreaker({ name: 'geocoder' });
    inner.forceOpen();
    const outer = new CircuitBreaker({ name: 'weather', failureThreshold: 1 });
    const tool = guardedTool(outer, async (_ctx: object): Promise<unknown> => inner.run(() => 1), { name: 'Weather' });
    expect(JSON.stringify(await tool({}))).toMatch(/geocoder/);
    expect(outer.state).toBe('closed');
    outer.forceOpen();
    expect(JSON.stringify(await tool({}))).toMatch(/Weather/);
  });

  it("leaves errors to the breaker's own classifier where there is one", async () => {
    const breaker = new CircuitBreaker({ failureThreshold: 1, classify: () => 'ignore' });
    const tool = guardedTool(breaker, async (_ctx: object): Promise<unknown> => unreachable());
    await expect(tool({})).rejects.toThrow('ECONNREFUSED');
    expect(breaker.state).toBe('closed');
    const strict = guardedTool(breaker, async (_ctx: object): Promise<unknown> => unreachable(), {
      classify: () => 'failure',
    });
    await expect(strict({})).rejects.toThrow('ECONNREFUSED');
    expect(breaker.state).toBe('open');
  });

  it('counts a batch that fails once, however many calls waited for it, and a later failure with the same error again', async () => {
    const breaker = new CircuitBreaker({ failureThreshold: 2 });
    const error = new Error('batch failed');
    let fail: () => void = () => {};
    const batch = new Promise<never>((_, reject) => (fail = () => reject(error)));
    const tool = guardedTool(breaker, async (_ctx: object): Promise<unknown> => batch);
    const calls = Array.from({ length: 20 }, () => tool({}));
    fail();
    await Promise.allSettled(calls);
    expect(breaker.stats()).toMatchObject({ state: 'closed', failures: 1, ignored: 19 });
    await Promise.resolve(tool({})).catch(() => {});
    expect(breaker.state).toBe('open');
  });

  it.each([
    ['1.x', (signal: AbortSignal) => ({ signal })],
    ['2.x', (signal: AbortSignal) => ({ mcpReq: { signal } })],
  ])("takes the cancellation of a %s context for nobody's failure", async (_line, context) => {
    const breaker = new CircuitBreaker({ failureThreshold: 1 });
    const controller = new AbortController();
    const tool = guardedTool(breaker, async (_args: object, _ctx: object) => new Promise<unknown>(() => {}));
    const call = tool({}, context(controller.signal));
    controller.abort(new Error('cancelled'));
    await expect(call).rejects.toThrow('cancelled');
    expect(breaker.stats()).toMatchObject({ state: 'closed', ignored: 1 });
  });

  it('passes arguments and context through, with and without input', async () => {
    const breaker = new CircuitBreaker();
    const ctx = { signal: new AbortController().signal };
    expect(
      await guardedTool(breaker, async (_args: object, given: { signal: AbortSignal }) => given.signal)({}, ctx),
    ).toBe(ctx.signal);
    expect(await guardedTool(breaker, async (args: object, given: object) => [args, given])({ a: 1 }, ctx)).toEqual([
      { a: 1 },
      ctx,
    ]);
    expect(await guardedTool(breaker, async (given: object) => given)(ctx)).toBe(ctx);
  });

  it('lets only safe tools probe when the breaker says so', async () => {
    const clock = new ManualClock();
    const breaker = new CircuitBreaker({
      failureThreshold: 1,
      recoveryTimeoutMs: 10,
      clock,
      admit: (tool) => (tool as { readOnlyHint: boolean }).readOnlyHint,
    });
    const handler = async (_ctx: object): Promise<unknown> => text('ok');
    const write = guardedTool(breaker, handler, { context: { readOnlyHint: false } });
    const read = guardedTool(breaker, handler, { context: { readOnlyHint: true } });
    await breaker.run(unreachable).catch(() => {});
    await clock.advance(10);
    expect(await write({})).toMatchObject({ isError: true });
    expect(await read({})).toEqual(text('ok'));
    expect(await write({})).toEqual(text('ok'));
  });

  it('is registered with the SDK as it is, and its refusal reaches the client past an output schema', async () => {
    const breaker = new CircuitBreaker({ name: 'weather', failureThreshold: 1 });
    const server = new McpServer({ name: 'test', version: '1.0.0' });
    const config = { inputSchema: { city: z.string() }, outputSchema: { degrees: z.number() } };
    server.registerTool(
      'forecast',
      config,
      guardedTool(breaker, async ({ city }: { city: string }) => {
        if (city === 'Atlantis') throw new Error('upstream hung up');
        return { content: [], structuredContent: { degrees: 20 } };
      }),
    );
    const client = new Client({ name: 'test', version: '1.0.0' });
    const [near, far] = InMemoryTransport.createLinkedPair();
    await Promise.all([server.connect(far), client.connect(near)]);
    await client.listTools();
    const forecast = (city: string) => client.callTool({ name: 'forecast', arguments: { city } });
    expect(await forecast('Oslo')).toMatchObject({ structuredContent: { degrees: 20 } });
    expect(await forecast('Atlantis')).toMatchObject({ isError: true, content: [{ text: 'upstream hung up' }] });
    expect(await forecast('Oslo')).toMatchObject({ isError: true, _meta: { 'x/error': { code: 'ERR_CIRCUIT_OPEN' } } });
    await client.close();
  });
});

describe('classifyToolResult', () => {
  it.each([
    [{ value: text('fine') }, 'success'],
    [{ value: text('bad', true) }, 'ignore'],
    [{ error: Object.assign(new Error('timed out'), { code: -32_001 }) }, 'failure'],
    [{ error: Object.assign(new Error('closed'), { code: -32_000 }) }, 'failure'],
    [{ error: Object.assign(new Error('no method'), { code: -32_601 }) }, 'ignore'],
    [{ error: Object.assign(new Error('internal'), { code: -32_603 }) }, 'failure'],
    [{ error: z.string().safeParse(1).error }, 'ignore'],
    [{ error: safeParse(z.string(), 1).error }, 'ignore'],
    [{ error: Object.assign(new Error('odd'), { status: 200 }) }, 'failure'],
    [
      { error: Object.assign(new Error('slow down'), { status: 429, retryAfterMs: 900 }) },
      { failure: true, retryAfterMs: 900 },
    ],
  ])('judges %j as %j', (outcome, verdict) => {
    expect(classifyToolResult(outcome)).toEqual(verdict);
  });
});
