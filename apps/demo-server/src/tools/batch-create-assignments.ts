import { validateBatch } from '@x/dataloader';
import { z } from 'zod';
import type { Dependencies } from '../dependencies.ts';
import { failure } from '../tool-failures.ts';
import { userId } from './get-user.ts';
import { defineTool, result, type Tool, type ToolDescription } from './tool.ts';

const Assignment = z.strictObject({
  title: z
    .string()
    .trim()
    .min(1)
    .max(200)
    // PostgreSQL's text has no room for it.
    .regex(/^[^\0]*$/, 'a title has no NUL characters')
    .describe('What is to be done; 1 to 200 characters.'),
  assignee_id: userId,
  priority: z.int().min(1).max(5).default(3).describe('1 (first) to 5 (last).'),
  due_date: z.iso
    .date()
    .refine((day) => day >= '1900-01-01', 'a due date is not before 1900')
    .optional()
    .describe('The day it is due, for example 2026-12-31.'),
});

const description = {
  name: 'batch_create_assignments',
  title: 'Create assignments',
  description:
    'Creates up to 500 assignments in one transaction: all of them, or none if any is wrong. Every item is checked first and all mistakes are reported with the index of their item, so that they can be mended in one go. The ids come back in the order of the items.',
  inputSchema: z.strictObject({
    assignments: z
      // Items are checked by the tool, which reports the mistakes of all of them; the schema tells callers what is expected.
      .array(z.unknown().meta(z.toJSONSchema(Assignment, { io: 'input' }) as Record<string, unknown>))
      .min(1)
      .max(500)
      .describe('The assignments to create; 1 to 500 of them.'),
  }),
  outputSchema: z.object({ created: z.int(), ids: z.array(z.string()) }),
  annotations: { readOnlyHint: false, destructiveHint: false, idempotentHint: false, openWorldHint: false },
} satisfies ToolDescription;

interface ItemError {
  index: number;
  path: readonly PropertyKey[];
  message: string;
}

export function batchCreateAssignments({ postgres }: Dependencies): Tool {
  return defineTool(description, {
    dependency: 'postgres',
    async handler({ assignments }, ctx) {
      const { valid, errors } = await validateBatch(assignments, Assignment);
      if (errors.length > 0) return invalidItems(errors, assignments.length);

      return await postgres.transaction(
        async (db) => {
          // Locked, so that nobody can remove an assignee between the check and the insert.
          const known = await db.fetch<{ id: string }>(
            'SELECT id FROM mcp_demo.users WHERE id = ANY($1::text[]) FOR KEY SHARE',
            [[...new Set(valid.map((item) => item.assignee_id))]],
          );
          const knownIds = new Set(known.map((user) => user.id));
          const unknown = valid.flatMap((item, index) =>
            knownIds.has(item.assignee_id)
              ? []
              : [{ index, path: ['assignee_id'], message: `there is no user ${item.assignee_id}` }],
          );
          if (unknown.length > 0) return invalidItems(unknown, assignments.length);

          const rows = await db.insertMany(
            'mcp_demo.assignments',
            ['title', 'assignee_id', 'priority', 'due_date'],
            valid.map((item) => [item.title, item.assignee_id, item.priority, item.due_date ?? null]),
            { returning: ['id'] },
          );
          return result({ created: rows.length, ids: rows.map((row) => String(row.id)) });
        },
        { signal: ctx.signal },
      );
    },
  });
}

function invalidItems(errors: readonly ItemError[], total: number): ReturnType<typeof failure> {
  const lines = errors.map(
    ({ index, path, message }) =>
      `- assignments[${index}]${path.map((key) => `.${String(key)}`).join('')}: ${message.slice(0, 300)}`,
  );
  return failure(
    `Nothing was created: ${new Set(errors.map(({ index }) => index)).size} of ${total} items are wrong. Mend them and send the whole batch again.\n${lines.join('\n')}`,
    { code: 'ERR_INVALID_ITEMS', reason: 'invalid_items' },
  );
}
