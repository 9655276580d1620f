import { type Logger, pino } from 'pino';

export type { Logger };

/**
 * Structured logs, to stderr only: in stdio mode stdout belongs to JSON-RPC.
 * Synchronous, so that the last lines before an exit are not lost.
 */
export function createLogger(level: string): Logger {
  return pino(
    { name: 'demo-server', level, redact: ['token', 'databaseUrl', 'redisUrl', '*.token'] },
    pino.destination({ fd: 2, sync: true }),
  );
}
