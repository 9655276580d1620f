import { rateLimitedTool } from '@x/backpressure/mcp';
import { expect, test } from 'vitest';
import { serve } from '../admission-server.ts';

// A rate limiter or a shedder of somebody else's may not know when to come back: NaN and Infinity, which JSON has no word for, went out
// as `Retry-After: NaN` and to the model as "Try again in NaN seconds".

test.each([[Number.NaN], [Number.POSITIVE_INFINITY], [undefined as unknown as number]])(
  'a wait of %s is told as a second',
  async (retryAfterMs) => {
    const rateLimiter = { consume: async () => ({ allowed: false, retryAfterMs }) };
    for (const options of [{ rateLimiter }, { shedder: { check: () => ({ reason: 'shed', retryAfterMs }) } }]) {
      const { url } = await serve((_, response) => response.end(), options);
      const response = await fetch(url);
      expect(response.headers.get('retry-after')).toBe('1');
      const { error } = (await response.json()) as { error: { message: string; data: { retryAfterMs: number } } };
      expect(error.message).toContain('Retry in 1 s.');
      expect(error.data.retryAfterMs).toBe(1_000);
    }
    const tool = rateLimitedTool(rateLimiter, async (_: object): Promise<unknown> => 'called');
    expect(await tool({})).toMatchObject({
      isError: true,
      content: [{ text: 'This tool was called too often. Nothing was done. Try again in 1 second.' }],
      _meta: { 'x/error': { retryAfterMs: 1_000 } },
    });
  },
);
