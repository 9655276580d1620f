import type { HttpPool } from '@x/pools/http';
import { z } from 'zod';
import type { Dependencies } from '../dependencies.ts';
import { defineTool, progressReporter, result, type Tool, type ToolDescription } from './tool.ts';

const EACH_TIMEOUT_MS = 30_000;
// Clients give up after 60 s (the default of MCP's SDK): by then they have what there is.
const TOTAL_TIMEOUT_MS = 55_000;
const MAX_TEXT = 20_000;

const description = {
  name: 'fetch_with_limit',
  title: 'Fetch URLs',
  description:
    'Fetches up to 50 URLs, at most 10 at once and 30 s each. Only origins that the operator allows can be reached. What failed is listed with the reason; the rest is there all the same.',
  inputSchema: z.strictObject({
    urls: z
      .array(z.url({ protocol: /^https?$/ }).max(2_000))
      .min(1)
      .max(50)
      .describe('1 to 50 http or https URLs.'),
  }),
  outputSchema: z.object({
    fetched: z.array(
      z.object({
        url: z.string(),
        status: z.int(),
        content_type: z.string().nullable(),
        text: z.string(),
        truncated: z.boolean(),
      }),
    ),
    failed: z.array(z.object({ url: z.string(), code: z.string(), reason: z.string() })),
  }),
  annotations: { readOnlyHint: true, idempotentHint: true, openWorldHint: true },
} satisfies ToolDescription;

export function fetchWithLimit({ web, webFetches, webOrigins }: Dependencies): Tool {
  return defineTool(description, {
    dependency: 'web',
    timeoutMs: TOTAL_TIMEOUT_MS + 5_000,
    async handler({ urls }, ctx) {
      const report = progressReporter(ctx, urls.length);
      const end = performance.now() + TOTAL_TIMEOUT_MS;
      const outcomes = await Promise.allSettled(
        urls.map((url) =>
          webFetches
            .run(
              ({ signal }) =>
                fetchText(web, url, signal, Math.min(EACH_TIMEOUT_MS, Math.max(1, end - performance.now()))),
              { signal: ctx.signal, deadlineMs: TOTAL_TIMEOUT_MS },
            )
            .finally(report),
        ),
      );
      ctx.signal.throwIfAborted();
      return result({
        fetched: outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : [])),
        failed: outcomes.flatMap((outcome, index) =>
          outcome.status === 'rejected'
            ? [{ url: urls[index] ?? '', ...explainFetchError(outcome.reason, webOrigins) }]
            : [],
        ),
      });
    },
  });
}

/** The answer with any status; what is behind the status is for the caller to judge. */
async function fetchText(web: HttpPool, url: string, signal: AbortSignal, timeoutMs: number) {
  const response = await web.get(url, { signal, timeoutMs });
  const text = await response.text();
  return {
    url,
    status: response.status,
    content_type: response.headers.get('content-type'),
    text: text.slice(0, MAX_TEXT),
    truncated: text.length > MAX_TEXT,
  };
}

function explainFetchError(error: { code?: unknown }, origins: readonly string[]): { code: string; reason: string } {
  const code = typeof error.code === 'string' ? error.code : 'ERR_FETCH';
  const reasons: Record<string, string> = {
    ERR_EGRESS_DENIED: `this address may not be reached; allowed are ${origins.join(', ')}`,
    ERR_INVALID_URL: 'the URL cannot be used; it may have no user name and password in it',
    ERR_OVERLOADED: 'its turn did not come in time; try again with fewer URLs',
    ERR_TIMEOUT: 'no whole answer in time',
    ERR_RESPONSE_TOO_LARGE: 'the answer is too large',
    ERR_TOO_MANY_REDIRECTS: 'too many redirects',
  };
  return { code, reason: reasons[code] ?? 'the server could not be reached or broke off; try again later' };
}
