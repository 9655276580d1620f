import pg from 'pg';
import { checkCallOptions, wrongType } from '../check-options.ts';
import { PoolError } from '../errors.ts';
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
  /**
   * The columns to give back for each row, in the order of the rows that came in; `'*'` for all. Where a trigger or a rule
   * drops rows, that is ERR_ROWS_MISSING and nothing is inserted.
   */
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
  if (rows.length === 0) return returning === undefined ? 0 : [];
  const known = await columnTypes(runner, target, columns, { signal, timeoutMs });
  const insert = {
    target,
    columns,
    types: known?.types ?? [],
    tied: known?.tied === true && returning !== undefined,
    returning,
  };
  // An array of arrays would be taken apart to the ground.
  const byColumn = known?.haveArrays === true && !values.some((row) => row.some(Array.isArray));
  const rowsInChunk = byColumn
    ? maxRowsInStatement
    : Math.max(1, Math.min(maxRowsInStatement, Math.floor(maxParameters / columns.length)));
  const returned: Row[] = [];
  let inserted = 0;
  for (let start = 0; start < values.length; start += rowsInChunk) {
    const chunk = values.slice(start, start + rowsInChunk);
    const source = byColumn ? arraysOf(insert) : placesOf(insert, chunk.length);
    const params = byColumn ? columns.map((_, i) => chunk.map((row) => row[i])) : chunk.flat();
    const result = await runner.query(statement(insert, source), params, { signal, timeoutMs });
    inserted += result.rowCount ?? 0;
    if (returning !== undefined) checkAllReturned(chunk.length, result.rows.length);
    if (insert.tied) inOrder(result.rows);
    for (const row of result.rows) returned.push(row);
  }
  return returning === undefined ? inserted : returned;
}

interface Insert {
  target: string;
  columns: readonly string[];
  types: readonly string[];
  /** Whether each returned row comes with the number of the one it was made from. */
  tied: boolean;
  returning: InsertManyOptions['returning'];
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

/** One array for each column: less to write and to parse than a place for each value. */
function arraysOf({ columns, types, tied }: Insert): string {
  const arrays = columns.map((_, i) => `$${i + 1}::${types[i]}[]`);
  return tied ? `unnest(${arrays}) WITH ORDINALITY` : `SELECT * FROM unnest(${arrays})`;
}

function placesOf({ columns, types, tied }: Insert, rows: number): string {
  const places = Array.from({ length: rows }, (_, row) => {
    // The types of the first row are those of all.
    const values = columns.map((_, i) => `$${row * columns.length + i + 1}${tied && row === 0 ? `::${types[i]}` : ''}`);
    return tied ? `(${values},${row})` : `(${values})`;
  });
  return tied ? `(VALUES ${places})` : `VALUES ${places}`;
}

/**
 * INSERT can return columns of the new row only, and no order is promised; MERGE (from PostgreSQL 17) returns those of
 * its source as well, so each row comes back with the number of the one it was made from.
 */
function statement({ target, columns, tied, returning }: Insert, source: string): string {
  const names = columns.map(pg.escapeIdentifier);
  if (!tied) {
    return `INSERT INTO ${target} (${names}) ${source}${returning === undefined ? '' : ` RETURNING ${returningList(returning, '')}`}`;
  }
  const aliases = columns.map((_, i) => `c${i}`);
  return (
    `MERGE INTO ${target} AS t USING ${source} AS s (${aliases}, r) ON false ` +
    `WHEN NOT MATCHED THEN INSERT (${names}) VALUES (${aliases.map((name) => `s.${name}`)}) ` +
    `RETURNING s.r AS ${pg.escapeIdentifier(ordinal)}, ${returningList(returning ?? '*', 't.')}`
  );
}

function returningList(returning: readonly string[] | '*', prefix: string): string {
  return returning === '*' ? `${prefix}*` : returning.map((column) => prefix + pg.escapeIdentifier(column)).join(', ');
}

/** A trigger may drop rows; those that come back could then be of any that came in. */
function checkAllReturned(given: number, returned: number): void {
  if (given === returned) return;
  throw new PoolError(
    'ERR_ROWS_MISSING',
    `insertMany: ${given} rows were given and ${returned} came back, as a trigger, a rule or a policy decides: without \`returning\` they can be inserted`,
  );
}

function inOrder(rows: Row[]): void {
  rows.sort((a, b) => a[ordinal] - b[ordinal]);
  for (const row of rows) delete row[ordinal];
}

/** The types of the columns; undefined where one is not found, which the statement itself then tells best. */
async function columnTypes(
  runner: SqlRunner,
  target: string,
  columns: readonly string[],
  options: QueryOptions,
): Promise<{ types: string[]; haveArrays: boolean; tied: boolean } | undefined> {
  const found = await runner.fetch<{ name: string; type: string; array: boolean; version: number; mergeable: boolean }>(
    `SELECT a.attname AS name, format_type(a.atttypid, -1) AS type, y.typarray <> 0 AS array, c.relkind IN ('r', 'p') AND NOT c.relhasrules AS mergeable,
            current_setting('server_version_num')::int AS version
       FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type y ON y.oid = a.atttypid
      WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY($2)`,
    [target, columns],
    options,
  );
  const types: string[] = [];
  for (const column of columns) {
    const type = found.find(({ name }) => name === column)?.type;
    if (type === undefined) return undefined;
    types.push(type);
  }
  return {
    types,
    haveArrays: found.every(({ array }) => array),
    tied: found.every(({ version, mergeable }) => version >= 170_000 && mergeable),
  };
}
