/**
 * Why a local server could not be started or commanded.
 *
 * - `ERR_UNSUPPORTED_PLATFORM`: there are no binaries for this system
 * - `ERR_START_FAILED`: the server ended, or could not be reached; the message ends with the tail of its log
 * - `ERR_TIMEOUT`: the server was not ready in time
 * - `ERR_EXTERNAL_SERVICE`: the server was given by the environment and is not ours to kill
 * - `ERR_NOT_RUNNING`: the command needs a running server
 * - `ERR_CLOSED`: the service has been disposed of, or its guardian process is gone
 */
export type LocalServiceErrorCode =
  | 'ERR_UNSUPPORTED_PLATFORM'
  | 'ERR_START_FAILED'
  | 'ERR_TIMEOUT'
  | 'ERR_EXTERNAL_SERVICE'
  | 'ERR_NOT_RUNNING'
  | 'ERR_CLOSED';

/** Every error of this package; branch on `code`. */
export class LocalServiceError extends Error {
  override readonly name: string = 'LocalServiceError';
  readonly code: LocalServiceErrorCode;

  constructor(code: LocalServiceErrorCode, message: string, options?: ErrorOptions) {
    super(`@x/local-services: ${message}`, options);
    this.code = code;
  }
}
