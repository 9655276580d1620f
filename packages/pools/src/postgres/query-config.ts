import type pg from 'pg';
import { numberOption } from '../check-options.ts';
import type { QueryOptions, Statement } from './sql-runner.ts';

/** What pg is given. It writes into what it is given, so a caller's own object is copied. */
export function queryConfig(sql: Statement, params: readonly unknown[], options: QueryOptions): pg.QueryConfig {
  const config: pg.QueryConfig = typeof sql === 'string' ? { text: sql } : { ...sql };
  if (typeof config.text !== 'string' || (typeof sql === 'object' && 'submit' in sql)) {
    throw new TypeError('@x/pools: query: sql must be a text or an object with a text; a cursor needs connect()');
  }
  if (!Array.isArray(params)) throw new TypeError(`@x/pools: query: params must be an array, got ${String(params)}`);
  if (params.length > 0) config.values = params as unknown[];
  if (config.values !== undefined && config.values.length > maxParameters) {
    throw new RangeError(
      `@x/pools: query: params must be ${maxParameters} values at most, got ${config.values.length}; pass them as an array: = any($1)`,
    );
  }
  if (options.name !== undefined) config.name = options.name;
  return config;
}

/** A Bind message counts its parameters in 16 bits; pg would send the rest all the same. */
export const maxParameters = 65_535;

export function checkedTimeout(timeoutMs: number | undefined): number | undefined {
  if (timeoutMs === undefined) return undefined;
  return numberOption('PostgresPool.query', 'timeoutMs', timeoutMs, timeoutMs, { min: 0, infinity: true });
}
