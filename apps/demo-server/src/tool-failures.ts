import { randomUUID } from 'node:crypto';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import type { Logger } from './logger.ts';
import type { ToolContext, ToolHandler } from './tools/tool.ts';

/** What a caller may branch on. `reason` says more; `retryAfterMs` is there where waiting helps. */
interface FailureDetails {
  code: string;
  reason?: string;
  retryAfterMs?: number;
}

/** A failure that was expected, as a result that reaches the model whole: what happened, what to do, and when. */
export function failure(text: string, details: FailureDetails): CallToolResult {
  return { isError: true, content: [{ type: 'text', text }], _meta: { 'x/error': { ...details } } };
}

/**
 * The outermost wrapper of every tool. The SDK sends the message of a thrown error to the client as it is, so nothing may
 * be thrown past this: failures of a dependency become a text that says what to do, anything else a fixed text with an id
 * that is in the log, where the error is.
 */
export function explainErrors(toolName: string, logger: Logger, handler: ToolHandler): ToolHandler {
  return async (args, ctx: ToolContext) => {
    try {
      return await handler(args, ctx);
    } catch (error) {
      // The caller has gone: there is nobody to explain it to, and the SDK drops the answer.
      if (ctx.signal.aborted) throw error;
      const known = explain(error);
      if (known !== undefined) {
        logger.warn({ tool: toolName, err: error }, 'a dependency failed');
        return known;
      }
      const id = randomUUID();
      logger.error({ tool: toolName, errorId: id, err: error }, 'a tool failed unexpectedly');
      return failure(
        `${toolName} failed because of an internal error (id ${id}). Trying again is unlikely to help; report the id to the operator of this server.`,
        { code: 'ERR_INTERNAL', reason: id },
      );
    }
  };
}

/** Failures of a dependency that are expected to happen, by `code`. Undefined for anything else. */
function explain(error: unknown): CallToolResult | undefined {
  const { code, retryAfterMs } = (error ?? {}) as { code?: unknown; retryAfterMs?: unknown };
  if (typeof code !== 'string') return undefined;
  const entry = EXPECTED.find(([pattern]) => pattern.test(code));
  if (entry === undefined) return undefined;
  const [, what, usualWaitMs] = entry;
  const waitMs = typeof retryAfterMs === 'number' ? retryAfterMs : usualWaitMs;
  return failure(`${what} Try again in ${Math.max(1, Math.ceil(waitMs / 1_000))} s; if it keeps failing, tell the user and go on without it.`, {
    code,
    retryAfterMs: waitMs,
  });
}

const EXPECTED: [pattern: RegExp, what: string, usualWaitMs: number][] = [
  [/^ERR_TIMEOUT$/, 'The call took too long and was stopped.', 5_000],
  [/^ERR_POOL_EXHAUSTED$/, 'All database connections are busy.', 2_000],
  [/^ERR_OVERLOADED$/, 'The server is overloaded.', 2_000],
  [/^(ERR_CONNECTION_LOST|ERR_CONNECT|ERR_POOL_CLOSED|08\w{3}|57P\d\d|53\w{3})$/, 'The database cannot be reached at the moment.', 3_000],
  [/^(ECONNREFUSED|ECONNRESET|EPIPE|ENOTFOUND|EAI_AGAIN|UND_ERR_\w+|ERR_HTTP_STATUS|ERR_NETWORK)$/, 'The upstream API is failing at the moment.', 5_000],
];
