import type pg from 'pg';
import { checkCallOptions, numberOption, wrongType } from '../check-options.ts';
import type { QueryOptions, Statement } from './sql-runner.ts';

/** What pg is given. It writes into what it is given, so a caller's own object is copied. */
export function queryConfig(sql: Statement, params: readonly unknown[], options: QueryOptions): pg.QueryConfig {
  checkCallOptions('PostgresPool.query', options);
  const config: pg.QueryConfig = typeof sql === 'string' ? { text: sql } : { ...sql };
  if (typeof config.text !== 'string' || (typeof sql === 'object' && 'submit' in sql)) {
    throw new TypeError('@x/pools: query: sql must be a text or an object with a text; a cursor needs connect()');
  }
  if (!Array.isArray(params)) throw wrongType('query: params', 'an array', params);
  if (params.length > 0) config.values = params as unknown[];
  if (options.name !== undefined) config.name = options.name;
  const { values, name, types } = config;
  if (values !== undefined) checkValues(values);
  // pg would find out in the middle of what it writes.
  if (name !== undefined && typeof name !== 'string') throw wrongType('query: name', 'a string', name);
  if (types !== undefined && typeof types?.getTypeParser !== 'function') {
    throw wrongType('query: types', 'an object with getTypeParser', types);
  }
  return config;
}

function checkValues(values: unknown): void {
  if (!Array.isArray(values)) throw wrongType('query: values', 'an array', values);
  if (values.length > maxParameters) {
    throw new RangeError(
      `@x/pools: query: params must be ${maxParameters} values at most, got ${values.length}; pass them as an array: = any($1)`,
    );
  }
}

/** A Bind message counts its parameters in 16 bits; pg would send the rest all the same. */
export const maxParameters = 65_535;

export function checkedTimeout(timeoutMs: number | undefined): number | undefined {
  if (timeoutMs === undefined) return undefined;
  return numberOption('PostgresPool.query', 'timeoutMs', timeoutMs, timeoutMs, { min: 0, infinity: true });
}
