import type pg from 'pg';
import { bareSql } from './bare-sql.ts';
import { callsUnknownCode } from './function-calls.ts';

/** Whether a statement may have left something in the session for whoever uses it next: as the server says what it was, or as its text shows. */
export function changesSession(text: string, result?: pg.QueryResult | pg.QueryResult[]): boolean {
  if (mayChangeSession(text)) return true;
  // Of several statements that failed, those before a COMMIT have been done, and the server does not say which they were.
  if (result === undefined) return ofSeveral.test(text);
  if (Array.isArray(result)) return result.some(({ command }) => leaving.has(command));
  return leaving.has(result.command) && !ofTransaction.test(text);
}

/** Whether a text has what an answer does not tell, and an error does not undo. Known by heart for texts that are sent again and again. */
export function mayChangeSession(text: string): boolean {
  let may = known.get(text);
  if (may !== undefined) return may;
  const bareText = bareSql(text);
  may =
    bareText === undefined || outlasting.test(bareText) || ofStatements.test(bareText) || callsUnknownCode(bareText);
  if (text.length <= longestKnown) {
    if (known.size >= maxKnown) known.clear();
    known.set(text, may);
  }
  return may;
}

/** Whether a text has what is known to outlast it: locks and settings by function, temporary tables, cursors. */
export function mayOutlast(text: string): boolean {
  return outlasting.test(bareSql(text) ?? text);
}

/** Whether a text may prepare statements by SQL, or drop those that are prepared. */
export function changesStatements(text: string): boolean {
  return ofStatements.test(bareSql(text) ?? text);
}

const known = new Map<string, boolean>();
const maxKnown = 1_000;
const longestKnown = 2_000;

const leaving = new Set(['SET', 'LISTEN']);
const ofSeveral = /;[\s\S]*\b(?:commit|end)\b/i;
/** These end with their transaction, and are called SET as well. */
const ofTransaction = /^\s*set\s+(?:local|transaction)\b/i;
const outlasting =
  /pg_(?:try_)?advisory_lock|set_config|\bpg_temp\w*"?\s*\.|\b(?:create|into)\s+(?:or\s+replace\s+)?(?:(?:global|local)\s+)?temp|\bwith\s+hold\b/i;
const ofStatements = /\b(?:prepare|deallocate|discard\s+all)\b/i;
