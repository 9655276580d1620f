import { Cache } from '@x/cache';
import { cachedTool, identify } from '@x/cache/mcp';
import { ManualClock } from '@x/testkit';
import { expect, test, vi } from 'vitest';

const text = (value: string) => ({ content: [{ type: 'text' as const, text: value }] });
const user = (sub: string, more: object = {}) => ({
  authInfo: {
    token: `token of ${sub}`,
    clientId: 'app',
    scopes: ['b', 'a'],
    extra: { iss: 'https://id', sub },
    ...more,
  },
});

interface Result {
  content: { type: 'text'; text: string }[];
  isError?: boolean;
  _meta?: Record<string, unknown>;
}

type Handler = (args: object, ctx: object) => Promise<Result>;

function counting(result: (args: object, ctx: object) => Result | Promise<Result>): Handler & { calls: number } {
  const handler = async (args: object, ctx: object) => {
    handler.calls++;
    return result(args, ctx);
  };
  handler.calls = 0;
  return handler;
}

test('a public tool is run once for everybody, whatever the order of the arguments', async () => {
  const handler = counting((args) => text(JSON.stringify(args)));
  const tool = cachedTool<Handler>(new Cache(), handler, { name: 't', readOnly: true, scope: 'public' });
  const first = await tool({ a: 1, b: 2 }, {});
  const second = await tool({ b: 2, a: 1 }, user('ann'));
  expect(second.content).toEqual(first.content);
  expect(handler.calls).toBe(1);
  await tool({ a: 1, b: 3 }, {});
  expect(handler.calls).toBe(2);
});

test('a tool without input is called with the context alone', async () => {
  const cache = new Cache();
  let calls = 0;
  const handler = async (ctx: { signal?: AbortSignal }) => {
    calls++;
    return text(`${ctx.signal instanceof AbortSignal}`);
  };
  const tool = cachedTool(cache, handler, { name: 't', readOnly: true, scope: 'public' });
  expect((await tool({})).content).toEqual([{ type: 'text', text: 'true' }]);
  await tool({});
  expect(calls).toBe(1);
});

test('by default each user has results of their own, and without a user nothing is kept', async () => {
  const handler = counting((_args, ctx) => text((ctx as ReturnType<typeof user>).authInfo?.extra?.sub ?? 'nobody'));
  const tool = cachedTool<Handler>(new Cache(), handler, { name: 't', readOnly: true });
  expect((await tool({}, user('ann'))).content).toEqual([{ type: 'text', text: 'ann' }]);
  expect((await tool({}, user('bob'))).content).toEqual([{ type: 'text', text: 'bob' }]);
  expect((await tool({}, user('ann', { token: 'a fresh token' }))).content).toEqual([{ type: 'text', text: 'ann' }]);
  expect(handler.calls).toBe(2);
  await tool({}, {});
  await tool({}, {});
  await tool({}, { authInfo: { clientId: 'app', scopes: [] } });
  expect(handler.calls).toBe(5);
});

test('the same user with other rights does not share', async () => {
  const handler = counting(() => text('x'));
  const tool = cachedTool<Handler>(new Cache(), handler, { name: 't', readOnly: true });
  await tool({}, user('ann', { scopes: ['a', 'b'] }));
  await tool({}, user('ann', { scopes: ['b', 'a'] }));
  expect(handler.calls).toBe(1);
  await tool({}, user('ann', { scopes: ['a'] }));
  expect(handler.calls).toBe(2);
});

test('identify reads both SDKs’ contexts, and names nobody by the client alone', () => {
  const authInfo = user('ann').authInfo;
  expect(identify({ authInfo })).toBe(identify({ mcpReq: {}, http: { authInfo } }));
  // Where both are there, that of the context's own SDK counts.
  const other = user('bob').authInfo;
  expect(identify({ authInfo: other, mcpReq: {}, http: { authInfo } })).toBe(identify({ authInfo }));
  expect(identify({ authInfo, http: { authInfo: other } })).toBe(identify({ authInfo }));
  expect(identify({ authInfo, mcpReq: {} })).toBe(identify({ authInfo }));
  expect(identify({ authInfo })).not.toBe(identify(user('ann', { extra: { iss: 'https://other', sub: 'ann' } })));
  expect(identify({ authInfo })).toBe(identify(user('x', { extra: { issuer: 'https://id', subject: 'ann' } })));
  expect(identify({})).toBeUndefined();
  expect(identify(undefined)).toBeUndefined();
  expect(identify({ authInfo: { clientId: 'app', scopes: [], extra: {} } })).toBeUndefined();
  const byToken = identify({ authInfo: { token: 'secret', clientId: 'app', scopes: [] } });
  expect(byToken).toBeTypeOf('string');
  expect(byToken).not.toContain('secret');
  expect(byToken).not.toBe(identify({ authInfo: { token: 'other', clientId: 'app', scopes: [] } }));
});

test('a function names the group that shares', async () => {
  const handler = counting(() => text('x'));
  const tool = cachedTool<Handler>(new Cache(), handler, {
    name: 't',
    readOnly: true,
    scope: (ctx: { tenant?: string }) => ctx.tenant,
  });
  await tool({}, { tenant: 'one' });
  await tool({}, { tenant: 'one' });
  await tool({}, { tenant: 'two' });
  expect(handler.calls).toBe(2);
  await tool({}, {});
  await tool({}, {});
  expect(handler.calls).toBe(4);
});

test('the shared load sees nobody’s identity, headers or session; that of one user sees the user', async () => {
  const seen: Record<string, unknown>[] = [];
  const handler = counting((_args, ctx) => {
    seen.push(ctx as Record<string, unknown>);
    return text('x');
  });
  const caller = {
    ...user('ann'),
    signal: new AbortController().signal,
    sessionId: 's',
    requestInfo: { headers: {} },
    _meta: { progressToken: 1 },
  };
  const cache = new Cache();
  await cachedTool<Handler>(cache, handler, { name: 'a', readOnly: true, scope: 'public' })({}, caller);
  await cachedTool<Handler>(cache, handler, { name: 'b', readOnly: true, scope: () => 'tenant' })({}, caller);
  await cachedTool<Handler>(cache, handler, { name: 'c', readOnly: true })({}, caller);
  const v2 = {
    mcpReq: { signal: caller.signal, _meta: {} },
    http: { authInfo: caller.authInfo, req: {} },
    sessionId: 's',
  };
  await cachedTool<Handler>(cache, handler, { name: 'd', readOnly: true, scope: 'public' })({}, v2);
  await cachedTool<Handler>(cache, handler, { name: 'e', readOnly: true })({}, v2);
  expect(seen.map((ctx) => Object.keys(ctx).sort())).toEqual([
    ['requestId', 'sendNotification', 'sendRequest', 'signal'],
    ['requestId', 'sendNotification', 'sendRequest', 'signal'],
    ['authInfo', 'requestId', 'sendNotification', 'sendRequest', 'signal'],
    ['mcpReq'],
    ['http', 'mcpReq'],
  ]);
  expect(seen[0]?.signal).not.toBe(caller.signal);
  expect(seen[4]?.http).toEqual({ authInfo: caller.authInfo });
});

test.each([
  ['an error', { ...text('no'), isError: true }],
  ['a refusal', { ...text('busy'), _meta: { 'x/error': { code: 'ERR_OVERLOADED' } } }],
])('%s reaches every caller and is not kept', async (_, result) => {
  const handler = counting(() => result);
  const cache = new Cache();
  const tool = cachedTool<Handler>(cache, handler, { name: 't', readOnly: true, scope: 'public' });
  const answers = await Promise.all([tool({}, {}), tool({}, {})]);
  expect(answers).toEqual([result, result]);
  expect(handler.calls).toBe(1);
  expect(await tool({}, {})).toEqual(result);
  expect(handler.calls).toBe(2);
  expect(cache.stats()).toMatchObject({ entries: 0, loadFailures: 2 });
});

test('a refusal is covered by stale-if-error', async () => {
  const clock = new ManualClock();
  let refuse = false;
  const handler = counting(() => (refuse ? { ...text('open'), isError: true } : text('fine')));
  const tool = cachedTool<Handler>(new Cache({ clock, ttlMs: 1_000, staleIfErrorMs: 10_000 }), handler, {
    name: 't',
    readOnly: true,
    scope: 'public',
  });
  await tool({}, {});
  refuse = true;
  await clock.advance(1_500);
  const stale = await tool({}, {});
  expect(stale).toEqual({ ...text('fine'), _meta: { 'x/cache': { tier: 'memory', ageMs: 1_500, stale: true } } });
  await clock.advance(10_000);
  expect((await tool({}, {})).isError).toBe(true);
});

test.each([
  ['a question to the caller', { resultType: 'input_required', inputRequests: { q: {} }, requestState: 'mine' }],
  ['a task', { task: { taskId: '1' } }],
])('%s is neither kept nor shared', async (_, result) => {
  const handler = counting(() => ({ ...result, content: [] }));
  const cache = new Cache();
  const tool = cachedTool<Handler>(cache, handler, { name: 't', readOnly: true, scope: 'public' });
  const [one, two] = await Promise.all([tool({}, {}), tool({}, {})]);
  expect(one).toMatchObject(result);
  expect(one).not.toBe(two);
  expect(handler.calls).toBe(3);
  expect(cache.stats().entries).toBe(0);
});

test.each([
  ['answers', { mcpReq: { inputResponses: { q: 1 } } }],
  ['answers that the server dropped', { mcpReq: { inputResponses: {}, droppedInputResponseKeys: ['q'] } }],
  ['a state', { mcpReq: { requestState: () => 'state' } }],
  ['a task', { taskId: '1' }],
])('a call that carries %s goes past the cache', async (_, ctx) => {
  const handler = counting(() => text('x'));
  const tool = cachedTool<Handler>(new Cache(), handler, { name: 't', readOnly: true, scope: 'public' });
  await tool({}, {});
  await tool({}, ctx);
  await tool({}, ctx);
  expect(handler.calls).toBe(3);
});

test('a first call, with neither answers nor a state, is cached', async () => {
  const handler = counting(() => text('x'));
  const tool = cachedTool<Handler>(new Cache(), handler, { name: 't', readOnly: true, scope: 'public' });
  const first = { mcpReq: { inputResponses: {}, droppedInputResponseKeys: [], requestState: () => undefined } };
  await tool({}, first);
  await tool({}, { mcpReq: {} });
  await tool({}, first);
  expect(handler.calls).toBe(1);
});

test('jitter is the tool’s own', async () => {
  const clock = new ManualClock();
  const handler = counting(() => text('x'));
  const tool = cachedTool<Handler>(new Cache({ clock, random: () => 0.5 }), handler, {
    name: 't',
    readOnly: true,
    scope: 'public',
    ttlMs: 1_000,
    jitter: 0.5,
  });
  await tool({}, {});
  await clock.advance(749);
  await tool({}, {});
  expect(handler.calls).toBe(1);
  await clock.advance(1);
  await tool({}, {});
  expect(handler.calls).toBe(2);
});

test('a tool that is not said to be read-only runs each time', async () => {
  const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
  try {
    const handler = counting(() => text('x'));
    for (const readOnly of [undefined, false]) {
      const tool = cachedTool<Handler>(new Cache(), handler, { name: 't', scope: 'public', readOnly });
      await tool({}, {});
      await tool({}, {});
    }
    expect(handler.calls).toBe(4);
    expect(warned).toHaveBeenCalledOnce();
  } finally {
    warned.mockRestore();
  }
});

test('one caller’s cancellation is not the other’s', async () => {
  let finish: () => void = () => {};
  let shared: AbortSignal | undefined;
  const handler = counting(async (_args, ctx) => {
    shared = (ctx as { signal: AbortSignal }).signal;
    await new Promise<void>((resolve) => {
      finish = resolve;
    });
    return text('done');
  });
  const tool = cachedTool<Handler>(new Cache(), handler, { name: 't', readOnly: true, scope: 'public' });
  const [one, two] = [new AbortController(), new AbortController()];
  const first = tool({}, { signal: one.signal });
  const second = tool({}, { mcpReq: { signal: two.signal } });
  one.abort(new Error('cancelled'));
  await expect(first).rejects.toThrow('cancelled');
  expect(shared?.aborted).toBe(false);
  finish();
  expect((await second).content).toEqual(text('done').content);
});

test('results say where they came from, and cannot be changed by one caller for another', async () => {
  const clock = new ManualClock();
  const tool = cachedTool<Handler>(
    new Cache({ clock }),
    counting(() => ({ ...text('x'), _meta: { own: 1 } })),
    {
      name: 't',
      readOnly: true,
      scope: 'public',
    },
  );
  const first = await tool({}, {});
  expect(first._meta).toEqual({ own: 1, 'x/cache': { tier: 'load', ageMs: 0, stale: false } });
  first.isError = true;
  await clock.advance(1_234);
  const second = await tool({}, {});
  expect(second).toEqual({
    ...text('x'),
    _meta: { own: 1, 'x/cache': { tier: 'memory', ageMs: 1_234, stale: false } },
  });
  expect(() => second.content.push({ type: 'text', text: 'poison' })).toThrow(TypeError);
});

test('arguments that cannot make a key go past the cache', async () => {
  const handler = counting(() => text('x'));
  const tool = cachedTool<Handler>(new Cache(), handler, { name: 't', readOnly: true, scope: 'public' });
  await tool({ at: new Date(1) }, {});
  await tool({ at: new Date(2) }, {});
  expect(handler.calls).toBe(2);
});

test('tags and times are the tool’s own', async () => {
  const clock = new ManualClock();
  const cache = new Cache({ clock });
  const handler = counting(() => text('x'));
  const tool = cachedTool<Handler>(cache, handler, { name: 't', readOnly: true, ttlMs: 100, tags: ['org'] });
  await tool({}, user('ann'));
  await cache.deleteByTag('org');
  await tool({}, user('ann'));
  expect(handler.calls).toBe(2);
  await clock.advance(100);
  await tool({}, user('ann'));
  expect(handler.calls).toBe(3);
});

test('wrong options are refused when the tool is made', () => {
  expect(() => cachedTool(new Cache(), async () => text('x'), { name: '', readOnly: true })).toThrow(/toolName/);
  expect(() =>
    cachedTool(new Cache(), async () => text('x'), { name: 't', readOnly: true, scope: 'all' as 'user' }),
  ).toThrow(/scope must be/);
});
