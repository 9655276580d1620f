import type pg from 'pg';
import { mayOutlast } from './session-state.ts';

/**
 * A command as the shared lane sends it. In the extended protocol a text is one statement, so nothing can hide behind a
 * semicolon.
 *
 * @throws TypeError unless it begins as a read does, and if it leaves something in its session.
 */
export function sharedRead(command: pg.QueryConfig): pg.QueryConfig {
  if (!read.test(command.text)) {
    throw new TypeError(
      "@x/pools: PostgresPool.query: lane: 'shared' must be given a statement that reads (SELECT, WITH, VALUES, TABLE, SHOW, EXPLAIN), got another",
    );
  }
  if (mayOutlast(command.text)) {
    throw new TypeError(
      "@x/pools: PostgresPool.query: lane: 'shared' must be given a statement that leaves nothing in its session, got one with an advisory lock, set_config, or something temporary",
    );
  }
  if ((command as { rows?: unknown }).rows !== undefined) {
    throw new TypeError("@x/pools: PostgresPool.query: lane: 'shared' must be given a statement without rows, got one");
  }
  return Object.assign(command, { queryMode: 'extended' });
}

const read = /^(?:\s|\(|--[^\n]*\n|\/\*[\s\S]*?\*\/)*(?:select|with|values|table|show|explain)\b/i;
