import type { RequestHandlerExtra } from '@modelcontextprotocol/sdk/shared/protocol.js';
import type {
  CallToolResult,
  ServerNotification,
  ServerRequest,
  ToolAnnotations,
} from '@modelcontextprotocol/sdk/types.js';
import type { z } from 'zod';

export type ToolContext = RequestHandlerExtra<ServerRequest, ServerNotification>;

// Arguments were validated by the SDK against `inputSchema` before a handler sees them; `defineTool` ties the two together.
// biome-ignore lint/suspicious/noExplicitAny: handlers of different arguments are kept in one list
export type ToolHandler<Args = any> = (args: Args, ctx: ToolContext) => Promise<CallToolResult>;

/** What clients see of a tool. Made once, at module scope: the SDK converts schemas for every server that is created. */
export interface ToolDescription<Input extends z.ZodObject = z.ZodObject, Output extends z.ZodObject = z.ZodObject> {
  name: string;
  title: string;
  description: string;
  inputSchema: Input;
  outputSchema: Output;
  annotations: ToolAnnotations;
}

/** A tool with its handler, and which of the server's patterns apply to it. */
export interface Tool {
  description: ToolDescription;
  handler: ToolHandler;
  /** What it needs: decides on the circuit and the limiter. */
  dependency: 'postgres' | 'upstream' | 'cpu' | 'web';
  /** How long one call may run. Milliseconds, default `--tool-timeout`. */
  timeoutMs?: number;
  /** Results are cached so long, for all callers alike. Milliseconds; not cached when left out. */
  cacheTtlMs?: number | undefined;
}

/** Ties a handler's arguments to the tool's schema. */
export function defineTool<Input extends z.ZodObject>(
  description: ToolDescription<Input>,
  tool: Omit<Tool, 'description' | 'handler'> & { handler: ToolHandler<z.infer<Input>> },
): Tool {
  return { ...tool, description };
}

/** A result both for programs (structured) and for models and older clients (the same as text). */
export function result(structured: Record<string, unknown>): CallToolResult {
  return { content: [{ type: 'text', text: JSON.stringify(structured) }], structuredContent: structured };
}

/** Tells the caller how far a long call has come, if it asked to be told. A caller that cannot be told is no failure. */
export function progressReporter(ctx: ToolContext, total: number): () => void {
  const progressToken = ctx._meta?.progressToken;
  if (progressToken === undefined) return () => {};
  let progress = 0;
  return () => {
    progress++;
    ctx
      .sendNotification({ method: 'notifications/progress', params: { progressToken, progress, total } })
      .catch(() => {});
  };
}
