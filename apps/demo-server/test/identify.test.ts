import { identify as identifyForLimits } from '@x/backpressure/mcp';
import { identify } from '@x/cache/mcp';
import { expect, test } from 'vitest';

const authInfos: any[] = [
  undefined,
  null,
  {},
  { token: 'abc', clientId: 'app', scopes: [] },
  { token: 'abc', clientId: 'app', scopes: ['b', 'a', 'a'], extra: { sub: 'ann' } },
  { token: 'abd', clientId: 'app', scopes: ['a', 'b'], extra: { sub: 'ann', iss: 'https://id.example' } },
  {
    token: 'abd',
    clientId: 'app',
    scopes: 'nonsense',
    extra: { subject: 'ann', issuer: 'https://id.example', scope: 'b a' },
  },
  { token: 7, clientId: 'app', scopes: [], extra: { sub: '' } },
  { token: 'lone \ud800 surrogate', scopes: [], extra: {} },
  { token: 'x', scopes: [], extra: { sub: 'quote " and \\ back' } },
];

test('the cache and the rate limit agree on who calls, on both lines of the SDK', () => {
  for (const authInfo of authInfos) {
    for (const context of [{ authInfo }, { mcpReq: {}, http: { authInfo } }] as any[]) {
      expect(identifyForLimits(context), JSON.stringify(context)).toBe(identify(context));
    }
  }
  expect(identify({ authInfo: authInfos[3] })).not.toContain('abc');
});
