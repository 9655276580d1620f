import { z } from 'zod';
import type { Dependencies } from '../dependencies.ts';
import { failure } from '../tool-failures.ts';
import { defineTool, result, type Tool, type ToolDescription } from './tool.ts';

const description = {
  name: 'process_large_dataset',
  title: 'Statistics of many numbers',
  description:
    "Count, sum, mean, standard deviation, least, greatest and percentiles of up to 100,000 numbers. Computed exactly, beside the server's other work.",
  inputSchema: z.strictObject({
    numbers: z.array(z.number()).min(1).max(100_000).describe('The numbers; 1 to 100,000 of them.'),
  }),
  outputSchema: z.object({
    count: z.int(),
    sum: z.number(),
    mean: z.number(),
    standard_deviation: z.number().describe('Of the population.'),
    min: z.number(),
    max: z.number(),
    p50: z.number(),
    p95: z.number(),
    p99: z.number(),
  }),
  annotations: { readOnlyHint: true, idempotentHint: true, openWorldHint: false },
} satisfies ToolDescription;

export function processLargeDataset({ workers }: Dependencies): Tool {
  return defineTool(description, {
    dependency: 'cpu',
    async handler({ numbers }, ctx) {
      const statistics = await workers.run(numbers, { name: 'statistics', signal: ctx.signal });
      if (Number.isFinite(statistics.standard_deviation)) return result({ ...statistics });
      return failure(
        'The numbers are too large: their sum or its square is beyond what a 64-bit float holds. Scale them down and try again.',
        {
          code: 'ERR_OUT_OF_RANGE',
          reason: 'overflow',
        },
      );
    },
  });
}
