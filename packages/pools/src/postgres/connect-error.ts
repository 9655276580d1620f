import { networkErrorCode, PoolError, type PoolErrorCode } from '../errors.ts';

/** Where a connection goes, for errors: no user's secret in it. */
export interface Destination {
  host: string;
  port: number;
  database: string | undefined;
  user: string | undefined;
}

/** Says what is wrong when a connection cannot be made, each case apart, without the password. */
export function connectError(error: unknown, to: Destination): PoolError {
  if (error instanceof PoolError) return error;
  const sqlState = sqlStateOf(error);
  const where = `PostgreSQL at ${to.host}:${to.port}`;
  const details = { cause: error, sqlState };
  switch (sqlState) {
    case undefined:
      break;
    case '28P01':
    case '28000':
      return new PoolError('ERR_AUTHENTICATION', `${where} refused the user or password (user ${to.user})`, details);
    case '3D000':
      return new PoolError('ERR_NO_SUCH_DATABASE', `${where} has no database "${to.database}"`, details);
    case '53300':
      return new PoolError('ERR_TOO_MANY_CONNECTIONS', `${where} has no connection left to give`, {
        ...details,
        retryAfterMs: 1_000,
      });
    case '57P01':
    case '57P02':
    case '57P03':
      return new PoolError('ERR_UNREACHABLE', `${where} is starting up or shutting down`, {
        ...details,
        retryAfterMs: 1_000,
      });
    default:
      return new PoolError('ERR_CONNECT_FAILED', `${where} refused the connection (SQLSTATE ${sqlState})`, details);
  }
  const kind = networkErrorCode(error);
  if (kind === 'ERR_UNREACHABLE') {
    return new PoolError(kind, `${where} cannot be reached (${(error as { code: string }).code})`, {
      ...details,
      retryAfterMs: 1_000,
    });
  }
  if (kind === 'ERR_CONNECT_TIMEOUT') return connectTimeout(to, undefined, error);
  const code: PoolErrorCode = kind === 'ERR_NETWORK' ? 'ERR_CONNECT_FAILED' : kind;
  return new PoolError(code, `The connection to ${where} failed while it was made`, details);
}

export function connectTimeout(to: Destination, afterMs: number | undefined, cause?: unknown): PoolError {
  const within = afterMs === undefined ? 'in time' : `within ${afterMs} ms`;
  return new PoolError('ERR_CONNECT_TIMEOUT', `PostgreSQL at ${to.host}:${to.port} did not answer ${within}`, {
    cause,
  });
}

/** The SQLSTATE of an error that the server sent, else undefined. */
export function sqlStateOf(error: unknown): string | undefined {
  const { code, severity } = (error ?? {}) as { code?: unknown; severity?: unknown };
  return typeof code === 'string' && typeof severity === 'string' && code.length === 5 ? code : undefined;
}

/** The connection went away, whatever had become of the query. */
export function isLoss(error: unknown): boolean {
  return endsConnection(error) || (error as { code?: unknown } | undefined)?.code === 'ERR_CONNECTION_LOST';
}

/**
 * After these the server closes the connection, or has. 57P… stands for a FATAL that is said in the server's language. An
 * ERROR of class 08 does not count: so are parameters that do not fit a statement called, and what a foreign server says.
 */
export function endsConnection(error: unknown): boolean {
  const { severity } = (error ?? {}) as { severity?: unknown };
  return severity === 'FATAL' || severity === 'PANIC' || sqlStateOf(error)?.startsWith('57P') === true;
}
