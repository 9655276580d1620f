/** What a caller of a pool may branch on. Errors of the database itself keep their SQLSTATE as `code` and are not of this class. */
export type PoolErrorCode =
  /** The time-out of the call, the command or the task has passed. */
  | 'ERR_TIMEOUT'
  /** The pool is closed, or is closing. */
  | 'ERR_POOL_CLOSED'
  /** `acquireTimeoutMs` has passed while every connection was in use. */
  | 'ERR_POOL_EXHAUSTED'
  /** As many as may wait are waiting already. */
  | 'ERR_OVERLOADED'
  /** No connection could be made: refused, unknown host, no route. */
  | 'ERR_UNREACHABLE'
  /** The other side did not answer in time while a connection was being made. */
  | 'ERR_CONNECT_TIMEOUT'
  /** An established connection broke, or the server reset the stream. */
  | 'ERR_CONNECTION_LOST'
  /** The server refused the user or the password. */
  | 'ERR_AUTHENTICATION'
  /** The server has no database of that name. */
  | 'ERR_NO_SUCH_DATABASE'
  /** The server has no connection left to give. */
  | 'ERR_TOO_MANY_CONNECTIONS'
  /** A connection could not be made for another reason; see `cause`. */
  | 'ERR_CONNECT_FAILED'
  /** A connection or transaction was used after it was given back. */
  | 'ERR_RELEASED'
  /** Nothing is known to be committed: a statement of the transaction had failed, or had ended it. */
  | 'ERR_TRANSACTION_ABORTED'
  /** The connection broke while COMMIT was under way: the transaction may or may not have been committed. */
  | 'ERR_COMMIT_UNKNOWN'
  /** Not as many rows were inserted as came in, so that those returned belong to none of them for certain: see `insertMany`. */
  | 'ERR_ROWS_MISSING'
  /** The egress policy forbids this destination. */
  | 'ERR_EGRESS_DENIED'
  | 'ERR_RESPONSE_TOO_LARGE'
  | 'ERR_TOO_MANY_REDIRECTS'
  /** `getJson` was answered with a status that is not 2xx; see `status`. */
  | 'ERR_HTTP_STATUS'
  /** `getJson` was answered with something that is not JSON, or a compressed body is damaged. */
  | 'ERR_INVALID_RESPONSE'
  | 'ERR_INVALID_URL'
  /** The request cannot be sent as it is: a header, the method or the body is not allowed in HTTP; see `cause`. */
  | 'ERR_INVALID_REQUEST'
  /** The body of a response was read a second time. */
  | 'ERR_BODY_USED'
  /** A network failure of another kind; see `cause`. */
  | 'ERR_NETWORK'
  /** The worker thread that ran the task ended: out of memory, `process.exit`, an error outside the task. */
  | 'ERR_WORKER_LOST'
  /** The worker file has no task of that name. */
  | 'ERR_NO_SUCH_TASK'
  /** What the task returned cannot be copied to another thread: a function, a symbol, a buffer that is gone. */
  | 'ERR_RESULT_NOT_CLONEABLE';

export interface PoolErrorDetails {
  cause?: unknown;
  /** When another try may help. Milliseconds. */
  retryAfterMs?: number | undefined;
  /** The HTTP status that was got. */
  status?: number | undefined;
  /** The SQLSTATE, where there is one. */
  sqlState?: string | undefined;
  /** The first characters of the body that came with a bad status; it may hold what the server says about its user. */
  bodyStart?: string | undefined;
}

/** The error of every pool. Test it by `code`, not by `instanceof`: two copies of the package may be installed. */
export class PoolError extends Error {
  override readonly name: string = 'PoolError';
  readonly code: PoolErrorCode;
  declare readonly retryAfterMs?: number;
  declare readonly status?: number;
  declare readonly sqlState?: string;
  declare readonly bodyStart?: string;

  constructor(code: PoolErrorCode, message: string, details: PoolErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    const { retryAfterMs, status, sqlState, bodyStart } = details;
    for (const [key, value] of Object.entries({ retryAfterMs, status, sqlState, bodyStart })) {
      if (value !== undefined) Object.defineProperty(this, key, { value, enumerable: true });
    }
  }
}

/** The code for an error of Node's sockets or resolver, by its `code`. */
export function networkErrorCode(error: unknown): PoolErrorCode {
  const code = (error as { code?: unknown } | undefined)?.code;
  if (typeof code !== 'string') return 'ERR_NETWORK';
  if (unreachable.has(code)) return 'ERR_UNREACHABLE';
  if (lost.has(code)) return 'ERR_CONNECTION_LOST';
  if (code === 'ETIMEDOUT') return 'ERR_CONNECT_TIMEOUT';
  return 'ERR_NETWORK';
}

const unreachable = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EAI_FAIL',
  'ENOENT',
  'EACCES',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'EADDRNOTAVAIL',
]);
const lost = new Set([
  'ECONNRESET',
  'EPIPE',
  'ECONNABORTED',
  'ENOTCONN',
  'UND_ERR_SOCKET',
  'UND_ERR_INFO',
  // Of HTTP/2 a stream that was reset, or the session that carried it.
  'ERR_HTTP2_STREAM_ERROR',
  'ERR_HTTP2_STREAM_CANCEL',
  'ERR_HTTP2_SESSION_ERROR',
  'ERR_HTTP2_GOAWAY_SESSION',
  'ERR_HTTP2_INVALID_SESSION',
]);
