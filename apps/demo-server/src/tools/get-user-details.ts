import { z } from 'zod';
import type { Dependencies } from '../dependencies.ts';
import { unknownUser, userId } from './get-user.ts';
import { defineTool, result, type Tool, type ToolDescription } from './tool.ts';

const description = {
  name: 'get_user_details',
  title: 'Get a user with unit, manager and assignments',
  description:
    'Looks one user up by id, with the name of unit and manager, how many people report to the user, and the open assignments. Calls made at the same time share one database query, so call it in parallel for several users.',
  inputSchema: z.strictObject({ user_id: userId }),
  outputSchema: z.object({
    id: z.string(),
    name: z.string(),
    email: z.string(),
    title: z.string(),
    org_unit: z.string(),
    manager: z.string().nullable(),
    reports: z.int(),
    assignments: z.array(z.object({ id: z.string(), title: z.string(), priority: z.int() })),
  }),
  annotations: { readOnlyHint: true, idempotentHint: true, openWorldHint: false },
} satisfies ToolDescription;

/** One query for any number of users; see `userDetailsLoader` in dependencies.ts for how calls come together. */
export const USER_DETAILS_QUERY = `
  SELECT users.id, users.name, users.email, users.title, org_units.name AS org_unit, manager.name AS manager,
         (SELECT count(*)::int FROM mcp_demo.users AS report WHERE report.manager_id = users.id) AS reports,
         coalesce((SELECT json_agg(json_build_object('id', id::text, 'title', title, 'priority', priority) ORDER BY priority, id)
                   FROM mcp_demo.assignments WHERE assignee_id = users.id), '[]') AS assignments
  FROM mcp_demo.users
  JOIN mcp_demo.org_units ON org_units.id = users.org_unit_id
  LEFT JOIN mcp_demo.users AS manager ON manager.id = users.manager_id
  WHERE users.id = ANY($1::text[])`;

export function getUserDetails({ loaders }: Dependencies): Tool {
  return defineTool(description, {
    dependency: 'postgres',
    async handler({ user_id }, ctx) {
      const details = await loaders.for(ctx).userDetails.load(user_id, { signal: ctx.signal });
      return details === undefined || details === null ? unknownUser(user_id) : result({ ...details });
    },
  });
}
