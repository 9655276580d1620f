import { z } from 'zod';
import type { Dependencies } from '../dependencies.ts';
import { failure } from '../tool-failures.ts';
import { defineTool, result, type Tool, type ToolDescription } from './tool.ts';

const description = {
  name: 'get_org_structure',
  title: 'Get the organisation',
  description:
    'The units below a unit (by default the whole company) down to a depth, each with its head, its own people and the people in all units below it. Units are listed from the top; parent_id links them. The answer may be up to ten minutes old.',
  inputSchema: z.strictObject({
    root_id: z
      .string()
      .regex(/^o[1-9]\d{0,8}$/, 'a unit id is the letter o and a number, for example o1')
      .default('o1')
      .describe('The unit to start from: the letter o and a number. "o1" is the company.'),
    depth: z
      .int()
      .min(1)
      .max(6)
      .default(3)
      .describe('How many levels to list, the starting unit included. The organisation has 6.'),
  }),
  outputSchema: z.object({
    root_id: z.string(),
    units: z.array(
      z.object({
        id: z.string(),
        name: z.string(),
        level: z.int(),
        parent_id: z.string().nullable(),
        head: z.string().nullable(),
        people: z.int(),
        people_below: z.int(),
      }),
    ),
  }),
  annotations: { readOnlyHint: true, idempotentHint: true, openWorldHint: false },
} satisfies ToolDescription;

/** Expensive on purpose of its kind: it walks the whole subtree, and pairs every unit with all units above it, to count people. */
const QUERY = `
  WITH RECURSIVE subtree AS (
    SELECT id, name, level, parent_id, head_id, 1 AS depth, ARRAY[id] AS path FROM mcp_demo.org_units WHERE id = $1
    UNION ALL
    SELECT unit.id, unit.name, unit.level, unit.parent_id, unit.head_id, subtree.depth + 1, subtree.path || unit.id
    FROM mcp_demo.org_units AS unit JOIN subtree ON unit.parent_id = subtree.id
  ), people AS (
    SELECT org_unit_id, count(*)::int AS people FROM mcp_demo.users GROUP BY org_unit_id
  )
  SELECT subtree.id, subtree.name, subtree.level, CASE WHEN subtree.depth = 1 THEN NULL ELSE subtree.parent_id END AS parent_id, head.name AS head,
         coalesce(people.people, 0) AS people,
         (SELECT coalesce(sum(below.people), 0)::int
          FROM subtree AS descendant JOIN people AS below ON below.org_unit_id = descendant.id
          WHERE descendant.path @> ARRAY[subtree.id] AND descendant.id <> subtree.id) AS people_below
  FROM subtree
  LEFT JOIN people ON people.org_unit_id = subtree.id
  LEFT JOIN mcp_demo.users AS head ON head.id = subtree.head_id
  WHERE subtree.depth <= $2
  ORDER BY subtree.level, subtree.path`;

export function getOrgStructure({ postgres, config }: Dependencies): Tool {
  return defineTool(description, {
    dependency: 'postgres',
    cacheTtlMs: config.orgCacheTtl,
    async handler({ root_id, depth }, ctx) {
      const units = await postgres.fetch(QUERY, [root_id, depth], { signal: ctx.signal });
      if (units.length === 0) {
        return failure(
          `There is no unit ${root_id}. Call get_org_structure without root_id to see the units there are.`,
          {
            code: 'ERR_NOT_FOUND',
            reason: 'unknown_unit',
          },
        );
      }
      return result({ root_id, units });
    },
  });
}
