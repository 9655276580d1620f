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
export function explainErrors(toolName: string, dependency: string, logger: Logger, handler: ToolHandler): ToolHandler {
  return async (args, ctx: ToolContext) => {
    try {
      return await handler(args, ctx);
    } catch (error) {
      // The caller has gone: there is nobody to explain it to, and the SDK drops the answer.
      if (ctx.signal.aborted) throw error;
      const known = explain(error, dependency);
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
function explain(error: unknown, dependency: string): CallToolResult | undefined {
  const { code, retryAfterMs } = (error ?? {}) as { code?: unknown; retryAfterMs?: unknown };
  if (typeof code !== 'string') return undefined;
  const expected = EXPECTED.find(({ codes }) => codes.test(code));
  if (expected === undefined) return undefined;
  const what = expected.what.replace('{dependency}', dependency);
  if (expected.waitMs === undefined) return failure(what, { code });
  const waitMs = typeof retryAfterMs === 'number' ? retryAfterMs : expected.waitMs;
  return failure(
    `${what} Try again in ${Math.max(1, Math.ceil(waitMs / 1_000))} s; if it keeps failing, tell the user and go on without it.`,
    { code, retryAfterMs: waitMs },
  );
}

/** `waitMs`: when another try is likely to help, where the error does not say; left out where trying again may do harm. */
const EXPECTED: readonly { codes: RegExp; what: string; waitMs?: number }[] = [
  { codes: /^ERR_TIMEOUT$/, what: 'No answer from {dependency} in time, and the call was stopped.', waitMs: 5_000 },
  {
    codes: /^(ERR_POOL_EXHAUSTED|ERR_OVERLOADED|ERR_TOO_MANY_CONNECTIONS|53\w{3})$/,
    what: 'There is more work for {dependency} than it can take.',
    waitMs: 2_000,
  },
  {
    // Class 08: connection exceptions; 57P01 to 57P03: the server is shutting down or starting up. PostgreSQL manual, appendix A.
    codes:
      /^(ERR_UNREACHABLE|ERR_CONNECT_TIMEOUT|ERR_CONNECT_FAILED|ERR_AUTHENTICATION|ERR_CONNECTION_LOST|ERR_NETWORK|ERR_POOL_CLOSED|08\w{3}|57P0[123])$/,
    what: 'The connection to {dependency} failed.',
    waitMs: 3_000,
  },
  {
    codes: /^ERR_COMMIT_UNKNOWN$/,
    what: 'The connection to {dependency} broke while the changes were being saved, so it is not known whether they were. Check whether they are there before you send them again: sending them twice may write them twice.',
  },
  {
    codes: /^(ERR_HTTP_STATUS|ERR_INVALID_RESPONSE)$/,
    what: 'The answer of {dependency} was a failure.',
    waitMs: 5_000,
  },
  {
    codes: /^ERR_WORKER_LOST$/,
    what: 'The worker thread of this call ended before it had a result.',
    waitMs: 1_000,
  },
];
