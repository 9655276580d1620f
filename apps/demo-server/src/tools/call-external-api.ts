import { z } from 'zod';
import type { Dependencies } from '../dependencies.ts';
import { failure } from '../tool-failures.ts';
import { defineTool, result, type Tool, type ToolDescription } from './tool.ts';

const description = {
  name: 'call_external_api',
  title: 'Call the external API',
  description:
    'Reads one endpoint of the external API, for example "status", "exchange-rates", "users/u42" or "documents/d7". While the API is failing, calls are refused at once with the time to wait.',
  inputSchema: z.strictObject({
    endpoint: z
      .string()
      .max(200)
      // Names and slashes only: no "..", no query, nothing that a URL parser could read as another host.
      .regex(/^[A-Za-z0-9_-]+(\/[A-Za-z0-9_-]+){0,5}$/, 'an endpoint is names joined by slashes, for example users/u42')
      .describe('The endpoint, without a leading slash: "status", "exchange-rates", "users/<id>" or "documents/<id>".'),
  }),
  outputSchema: z.object({ endpoint: z.string(), data: z.unknown() }),
  annotations: { readOnlyHint: true, idempotentHint: true, openWorldHint: true },
} satisfies ToolDescription;

export function callExternalApi({ http, upstreamUrl }: Dependencies): Tool {
  return defineTool(description, {
    dependency: 'upstream',
    async handler({ endpoint }, ctx) {
      try {
        const data = await http.getJson(`${upstreamUrl}/${endpoint}`, { signal: ctx.signal });
        return result({ endpoint, data });
      } catch (error) {
        // The caller asked for what is not there: the API itself is well, so this is an answer and no failure of the dependency.
        if ((error as { status?: unknown }).status !== 404) throw error;
        return failure(
          `The external API has no endpoint "${endpoint}". Try "status", "exchange-rates", "users/u42" or "documents/d7".`,
          {
            code: 'ERR_NOT_FOUND',
            reason: 'unknown_endpoint',
          },
        );
      }
    },
  });
}
