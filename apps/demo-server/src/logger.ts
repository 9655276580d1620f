import { type Logger, pino } from 'pino';

export type { Logger };

/**
 * Structured logs, to stderr only: in stdio mode stdout belongs to JSON-RPC.
 * Synchronous, so that the last lines before an exit are not lost.
 */
export function createLogger(level: string): Logger {
  return pino(
    { name: 'demo-server', level, serializers: { err: describeError } },
    pino.destination({ fd: 2, sync: true }),
  );
}

/**
 * What is known to be harmless in an error. Libraries hang more on theirs: ioredis the arguments of the command that
 * failed, the password of AUTH among them; pg the values of the row.
 */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return String(error);
  const { name, message, stack, cause } = error;
  const { code } = error as { code?: unknown };
  return {
    type: name,
    message,
    ...(typeof code === 'string' ? { code } : {}),
    stack,
    ...(cause === undefined ? {} : { cause: describeError(cause) }),
  };
}
