/**
 * Why a load test could not begin; test by `code`:
 * - `ERR_TARGET_UNREACHABLE`: no connection, or no answer to `initialize` in time.
 * - `ERR_HANDSHAKE`: something answered, but not as an MCP server that lets us in. `status` is its HTTP status.
 */
export class LoadTestError extends Error {
  readonly code: 'ERR_TARGET_UNREACHABLE' | 'ERR_HANDSHAKE';
  readonly status: number | undefined;

  constructor(code: LoadTestError['code'], message: string, options: { cause?: unknown; status?: number } = {}) {
    super(`@x/loadtest: ${message}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'LoadTestError';
    this.code = code;
    this.status = options.status;
  }
}
