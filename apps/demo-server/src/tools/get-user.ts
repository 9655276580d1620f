import { z } from 'zod';
import type { Dependencies } from '../dependencies.ts';
import { failure } from '../tool-failures.ts';
import { defineTool, result, type Tool, type ToolDescription } from './tool.ts';

export const userId = z
  .string()
  .regex(/^u[1-9]\d{0,8}$/, 'a user id is the letter u and a number, for example u42')
  .describe('A user id: the letter u and a number, for example "u42". The demo has u1 to u5000.');

const description = {
  name: 'get_user',
  title: 'Get a user',
  description:
    'Looks one user up by id: name, email, title, unit and manager. For many users at once call get_user_details in parallel, or fetch_user_data.',
  inputSchema: z.strictObject({ user_id: userId }),
  outputSchema: z.object({
    id: z.string(),
    name: z.string(),
    email: z.string(),
    title: z.string(),
    org_unit_id: z.string(),
    manager_id: z.string().nullable(),
  }),
  annotations: { readOnlyHint: true, idempotentHint: true, openWorldHint: false },
} satisfies ToolDescription;

export function getUser({ postgres }: Dependencies): Tool {
  return defineTool(description, {
    dependency: 'postgres',
    async handler({ user_id }, ctx) {
      const user = await postgres.fetchOne(
        'SELECT id, name, email, title, org_unit_id, manager_id FROM mcp_demo.users WHERE id = $1',
        [user_id],
        { signal: ctx.signal },
      );
      return user === undefined || user === null ? unknownUser(user_id) : result({ ...user });
    },
  });
}

export function unknownUser(id: string): ReturnType<typeof failure> {
  return failure(`There is no user ${id}. Check the id with the person who gave it; do not guess another one.`, {
    code: 'ERR_NOT_FOUND',
    reason: 'unknown_user',
  });
}
