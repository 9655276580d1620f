import type pg from 'pg';

/** DISCARD ALL, but prepared statements stay: the client remembers which ones it has made. */
export const resetSession =
  'CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES';

/** Whether a statement, by what the server says it was, has left something in the session for whoever uses it next. */
export function changesSession(text: string, result: pg.QueryResult | pg.QueryResult[]): boolean {
  if (Array.isArray(result)) return result.some(({ command }) => leaving.has(command));
  return leaving.has(result.command) && !ofTransaction.test(text);
}

const leaving = new Set(['SET', 'LISTEN']);
/** These end with their transaction, and are called SET as well. */
const ofTransaction = /^\s*set\s+(?:local|transaction)\b/i;
