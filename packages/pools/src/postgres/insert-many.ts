import pg from 'pg';
import { checkCallOptions, wrongType } from '../check-options.ts';
import { maxParameters } from './query-config.ts';
import type { QueryOptions, Row, SqlRunner } from './sql-runner.ts';

/** A table: its name, `schema.name`, or the parts in an array where a name has a dot of its own. */
export type TableName = string | readonly string[];

/**
 * A row to insert: values in the order of the columns, or an object with a field for each column. `undefined` is NULL.
 * An array becomes an array of PostgreSQL: for a column of JSON it must be `JSON.stringify`ed.
 */
export type InsertRow = readonly unknown[] | Readonly<Record<string, unknown>>;

export interface InsertManyOptions extends Pick<QueryOptions, 'signal'> {
  /** Time of each statement. Milliseconds. Default: the pool's `commandTimeoutMs`. */
  timeoutMs?: number | undefined;
  /** The columns to give back for each row, in the order of the rows that came in; `'*'` for all. */
  returning?: readonly string[] | '*' | undefined;
}

/** Inserts all rows in statements as large as the protocol allows. The caller holds the transaction. */
export async function insertMany(
  runner: SqlRunner,
  table: TableName,
  columns: readonly string[],
  rows: readonly InsertRow[],
  options: InsertManyOptions,
): Promise<Row[] | number> {
  checkInsert(table, columns, rows, options);
  const target = (typeof table === 'string' ? table.split('.') : table).map(pg.escapeIdentifier).join('.');
  const { returning, signal, timeoutMs } = options;
  const values = rows.map((row, index) => valuesOf(row, columns, index));
  const rowsInChunk = Math.max(1, Math.min(maxRowsInStatement, Math.floor(maxParameters / columns.length)));
  const tie =
    returning === undefined || rows.length === 0
      ? undefined
      : await canTie(runner, target, columns, { signal, timeoutMs });
  const returned: Row[] = [];
  let inserted = 0;
  for (let start = 0; start < values.length; start += rowsInChunk) {
    const chunk = values.slice(start, start + rowsInChunk);
    const sql =
      tie === undefined
        ? insertStatement(target, columns, chunk.length, returning)
        : mergeStatement(target, columns, tie, chunk.length, returning);
    const result = await runner.query(sql, chunk.flat(), { signal, timeoutMs });
    inserted += result.rowCount ?? 0;
    if (tie !== undefined) inOrder(result.rows);
    for (const row of result.rows) returned.push(row);
  }
  return returning === undefined ? inserted : returned;
}

/** Throws before anything is sent, unless a table, columns and rows were given. */
export function checkInsert(
  table: TableName,
  columns: readonly string[],
  rows: readonly InsertRow[],
  options: InsertManyOptions,
): void {
  checkCallOptions('insertMany', options);
  if (typeof table !== 'string') checkNames('table', table, 'a name or ');
  checkNames('columns', columns);
  const { returning } = options;
  if (returning !== undefined && returning !== '*') checkNames('returning', returning, "'*' or ");
  if (!Array.isArray(rows)) throw wrongType('insertMany: rows', 'an array', rows);
}

function checkNames(option: string, names: readonly string[], wanted = ''): void {
  if (!Array.isArray(names)) {
    throw wrongType(`insertMany: ${option}`, `${wanted}an array of names`, names);
  }
  if (names.length === 0) throw new RangeError(`@x/pools: insertMany: ${option} must name at least one, got none`);
  for (const name of names)
    if (typeof name !== 'string') throw wrongType(`insertMany: a name in ${option}`, 'a string', name);
}

/** Beyond this the statement's own text costs more than another round trip saves. */
const maxRowsInStatement = 5_000;
/** A name that no column has. */
const ordinal = '@x/pools row';

function valuesOf(row: InsertRow, columns: readonly string[], index: number): readonly unknown[] {
  if (typeof row !== 'object' || row === null) {
    throw wrongType(`insertMany: rows[${index}]`, 'an array or an object', row);
  }
  if (!Array.isArray(row)) return columns.map((column) => (row as Readonly<Record<string, unknown>>)[column]);
  if (row.length === columns.length) return row;
  throw new RangeError(
    `@x/pools: insertMany: rows[${index}] must have ${columns.length} values, one for each column, got ${row.length}`,
  );
}

function insertStatement(
  target: string,
  columns: readonly string[],
  rows: number,
  returning: InsertManyOptions['returning'],
): string {
  const places = Array.from(
    { length: rows },
    (_, row) => `(${columns.map((_, i) => `$${row * columns.length + i + 1}`)})`,
  );
  const names = columns.map(pg.escapeIdentifier);
  return `INSERT INTO ${target} (${names}) VALUES ${places}${returning === undefined ? '' : ` RETURNING ${returningList(returning, '')}`}`;
}

/**
 * INSERT can return columns of the new row only, and no order is promised; MERGE (from PostgreSQL 17) returns those of
 * its source as well, so each row comes back with the number of the one it was made from.
 */
function mergeStatement(
  target: string,
  columns: readonly string[],
  types: readonly string[],
  rows: number,
  returning: InsertManyOptions['returning'],
): string {
  const names = columns.map((_, i) => `c${i}`);
  const places = Array.from({ length: rows }, (_, row) => {
    // The types of the first row are those of all.
    const values = columns.map((_, i) => `$${row * columns.length + i + 1}${row === 0 ? `::${types[i]}` : ''}`);
    return `(${values},${row})`;
  });
  return (
    `MERGE INTO ${target} AS t USING (VALUES ${places}) AS s (${names}, r) ON false ` +
    `WHEN NOT MATCHED THEN INSERT (${columns.map(pg.escapeIdentifier)}) VALUES (${names.map((name) => `s.${name}`)}) ` +
    `RETURNING s.r AS ${pg.escapeIdentifier(ordinal)}, ${returningList(returning ?? '*', 't.')}`
  );
}

function returningList(returning: readonly string[] | '*', prefix: string): string {
  return returning === '*' ? `${prefix}*` : returning.map((column) => prefix + pg.escapeIdentifier(column)).join(', ');
}

function inOrder(rows: Row[]): void {
  rows.sort((a, b) => a[ordinal] - b[ordinal]);
  for (const row of rows) delete row[ordinal];
}

/** The types of the columns, where the server can tie returned rows to their source; undefined leaves it to INSERT's own order. */
async function canTie(
  runner: SqlRunner,
  target: string,
  columns: readonly string[],
  options: QueryOptions,
): Promise<readonly string[] | undefined> {
  const found = await runner.fetch<{ name: string; type: string; version: number; kind: string }>(
    `SELECT a.attname AS name, format_type(a.atttypid, -1) AS type, c.relkind AS kind,
            current_setting('server_version_num')::int AS version
       FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped`,
    [target],
    options,
  );
  const types = columns.map((column) => found.find(({ name }) => name === column)?.type);
  const tied = found.every(({ version, kind }) => version >= 170_000 && (kind === 'r' || kind === 'p'));
  return tied && types.every((type) => type !== undefined) ? types : undefined;
}
