import { createHash } from 'node:crypto';
import type pg from 'pg';
import { sqlStateOf } from './connect-error.ts';

/**
 * The names under which statements are prepared. A name is given up when a server no longer knows it, or when a change of a
 * table has made its plan useless; the statement is then prepared anew under the next name, on each connection as it is used.
 */
export class StatementNames {
  /** Only names that were given up once: as many as there were changes. */
  readonly #generations = new Map<string, number>();

  /** The command with the name that is good now. */
  resolve(command: pg.QueryConfig): pg.QueryConfig {
    if (command.name === undefined) return command;
    const name = nameOf(command.name, this.#generations.get(command.name) ?? 0);
    return name === command.name ? command : { ...command, name };
  }

  /** Whether the statement was refused, before it ran, for its name alone, which is given up then: it may be run again. */
  giveUp(command: pg.QueryConfig, sent: pg.QueryConfig, error: unknown): boolean {
    if (command.name === undefined || !isStale(error)) return false;
    const generation = this.#generations.get(command.name) ?? 0;
    // Many may come back refused with the same old name; one new name is enough.
    if (sent.name === nameOf(command.name, generation)) this.#generations.set(command.name, generation + 1);
    return true;
  }
}

function nameOf(name: string, generation: number): string {
  const whole = generation === 0 ? name : `${name} (${generation})`;
  if (Buffer.byteLength(whole) <= maxNameBytes) return whole;
  const hash = createHash('sha256').update(whole).digest('base64url').slice(0, 22);
  return `${whole.slice(0, 13)} ${hash}`;
}

/** The server cuts what is longer (NAMEDATALEN), so that two names with one beginning would be the same to it. */
const maxNameBytes = 63;

/** invalid_sql_statement_name, or "cached plan must not change result type", which has no SQLSTATE of its own. */
function isStale(error: unknown): boolean {
  const sqlState = sqlStateOf(error);
  const { routine } = (error ?? {}) as { routine?: unknown };
  return sqlState === '26000' || (sqlState === '0A000' && routine === 'RevalidateCachedQuery');
}
