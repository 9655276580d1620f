import type pg from 'pg';

/** DISCARD ALL, but prepared statements stay: the client remembers which ones it has made. */
export const resetSession =
  'CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES';

/** Whether a statement has left something in the session for whoever uses it next: as the server says what it was, or as its text makes likely. */
export function changesSession(text: string, result?: pg.QueryResult | pg.QueryResult[]): boolean {
  if (mayOutlast(text)) return true;
  if (Array.isArray(result)) return result.some(({ command }) => leaving.has(command));
  return result !== undefined && leaving.has(result.command) && !ofTransaction.test(text);
}

/** Whether a text has what an answer does not tell, and an error does not undo: locks and settings by function, temporary tables, cursors. */
export function mayOutlast(text: string): boolean {
  return outlasting.test(text);
}

const leaving = new Set(['SET', 'LISTEN']);
/** These end with their transaction, and are called SET as well. */
const ofTransaction = /^\s*set\s+(?:local|transaction)\b/i;
const outlasting =
  /pg_(?:try_)?advisory_lock|set_config|\b(?:create|into)\s+(?:or\s+replace\s+)?(?:(?:global|local)\s+)?temp|\bwith\s+hold\b/i;
