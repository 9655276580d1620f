import { settleLimit } from '@x/backpressure';
import { z } from 'zod';
import type { Dependencies } from '../dependencies.ts';
import { userId } from './get-user.ts';
import { defineTool, progressReporter, result, type Tool, type ToolDescription } from './tool.ts';

const AT_ONCE = 10;

const description = {
  name: 'fetch_user_data',
  title: 'Fetch the profiles of users',
  description:
    'Fetches the profiles (time zone, last login, documents) of up to 100 users from the upstream API, at the same time. Those that fail are listed with the reason; the others are there all the same.',
  inputSchema: z.strictObject({
    user_ids: z.array(userId).min(1).max(100).describe('1 to 100 user ids; a repeated one is fetched once.'),
  }),
  outputSchema: z.object({
    users: z.array(
      z.object({ id: z.string(), timezone: z.string(), last_login_day: z.string(), documents: z.array(z.string()) }),
    ),
    failed: z.array(z.object({ user_id: z.string(), reason: z.string() })),
  }),
  annotations: { readOnlyHint: true, idempotentHint: true, openWorldHint: true },
} satisfies ToolDescription;

/** What the upstream API promises. Checked, so that a change there is a clear failure here. */
const Profile = description.outputSchema.shape.users.element;

export function fetchUserData({ http, upstreamUrl }: Dependencies): Tool {
  return defineTool(description, {
    dependency: 'upstream',
    async handler({ user_ids }, ctx) {
      const ids = [...new Set(user_ids)];
      const report = progressReporter(ctx, ids.length);
      const outcomes = await settleLimit(
        ids,
        AT_ONCE,
        async (id, { signal }) => {
          try {
            return Profile.parse(await http.getJson(`${upstreamUrl}/users/${id}`, { signal }));
          } finally {
            report();
          }
        },
        { signal: ctx.signal },
      );

      const users = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
      const rejected = outcomes.flatMap((outcome, index) =>
        outcome.status === 'rejected' ? [{ id: ids[index] ?? '', error: outcome.reason }] : [],
      );
      // Nothing came through: that is the dependency's failure, which its breaker should hear of.
      const fault = rejected.find(({ error }) => error.status !== 404);
      if (users.length === 0 && fault !== undefined) throw fault.error;
      return result({ users, failed: rejected.map(({ id, error }) => ({ user_id: id, reason: reason(error) })) });
    },
  });
}

function reason(error: { status?: number; code?: string }): string {
  if (error.status === 404) return 'the upstream API does not know this user';
  return `the upstream API failed (${error.status ?? error.code ?? 'unexpected answer'}); try this user again later`;
}
