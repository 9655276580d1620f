import { Cache } from '@x/cache';
import { cachedTool, identify } from '@x/cache/mcp';
import { expect, test } from 'vitest';

// A user or group whose name holds an unpaired surrogate made the tool fail.

const result = { content: [{ type: 'text', text: 'x' }] };

test('a subject that no key can tell apart is told by the token', () => {
  const of = (sub: string, token: string, more: object = {}) =>
    identify({ authInfo: { token, clientId: 'app', scopes: [], extra: { iss: 'https://idp', sub }, ...more } });
  expect(of('x\ud800', 'one')).toBe(identify({ authInfo: { token: 'one' } }));
  expect(of('x\ud800', 'one')).not.toBe(of('x\ud801', 'two'));
  expect(of('ann', 'one', { scopes: ['a', '\ud800'] })).toBe(identify({ authInfo: { token: 'one' } }));
  expect(of('ann', 'one')).toBe(of('ann', 'two'));
});

test('a group that no key can tell apart goes past the cache', async () => {
  let calls = 0;
  const tool = cachedTool(
    new Cache(),
    async (_args: object, _ctx: object) => {
      calls++;
      return result;
    },
    { name: 't', readOnly: true, scope: () => 'x\ud800' },
  );
  expect(await tool({}, {})).toBe(result);
  await tool({}, {});
  expect(calls).toBe(2);
});
