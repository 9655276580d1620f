import { limitedTool, rateLimitedTool } from '@x/backpressure/mcp';
import { guardedTool } from '@x/breaker/mcp';
import { cachedTool, identify } from '@x/cache/mcp';
import type { Dependencies } from '../dependencies.ts';
import { explainErrors } from '../tool-failures.ts';
import { batchCreateAssignments } from './batch-create-assignments.ts';
import { callExternalApi } from './call-external-api.ts';
import { fetchUserData } from './fetch-user-data.ts';
import { fetchWithLimit } from './fetch-with-limit.ts';
import { getOrgStructure } from './get-org-structure.ts';
import { getUser } from './get-user.ts';
import { getUserDetails } from './get-user-details.ts';
import { processLargeDataset } from './process-large-dataset.ts';
import type { Tool, ToolHandler } from './tool.ts';

/** Every tool of the server with the patterns around it; docs/architecture.md says why in this order. */
export function createTools(dependencies: Dependencies): Tool[] {
  return [
    getUser(dependencies),
    getUserDetails(dependencies),
    getOrgStructure(dependencies),
    batchCreateAssignments(dependencies),
    fetchUserData(dependencies),
    fetchWithLimit(dependencies),
    callExternalApi(dependencies),
    processLargeDataset(dependencies),
  ].map((tool) => ({ ...tool, handler: assemble(tool, dependencies) }));
}

function assemble(
  tool: Tool,
  { breakers, limiters, cache, rateLimiter, metrics, logger, config }: Dependencies,
): ToolHandler {
  const { name, annotations } = tool.description;
  let handler = tool.handler;
  if (tool.dependency === 'postgres' || tool.dependency === 'upstream')
    handler = guardedTool(breakers[tool.dependency], handler);
  handler = limitedTool(limiters[tool.dependency], handler, { name, timeoutMs: tool.timeoutMs ?? config.toolTimeout });
  if (tool.cacheTtlMs !== undefined) {
    handler = cachedTool(cache, handler, {
      name,
      ttlMs: tool.cacheTtlMs,
      scope: 'public',
      readOnly: annotations.readOnlyHint === true,
    });
  }
  handler = rateLimitedTool(rateLimiter, handler, { name, key: identify });
  handler = metrics.instrumentTool(name, handler);
  return explainErrors(name, DEPENDENCY_NAMES[tool.dependency], logger, handler);
}

/** What callers are told that a tool depends on. */
const DEPENDENCY_NAMES: Record<Tool['dependency'], string> = {
  postgres: 'the database',
  upstream: 'the upstream API',
  web: 'the web',
  cpu: 'the worker threads',
};
