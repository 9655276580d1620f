/** The batch function broke its contract, so no result can be told to be a caller's own. */
export class BatchResultError extends TypeError {
  override readonly name = 'BatchResultError';
  readonly code = 'ERR_BATCH_RESULT';
  /** How many keys or items the batch function was given. */
  readonly keyCount: number;
  /** How many values it gave; `undefined` if that was no array. */
  readonly valueCount: number | undefined;

  constructor(message: string, keyCount: number, valueCount?: number, options?: { cause?: unknown }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.keyCount = keyCount;
    this.valueCount = valueCount;
  }
}

/** A batch took longer than `batchTimeoutMs`; its signal has been aborted with this error. */
export class BatchTimeoutError extends Error {
  override readonly name = 'TimeoutError';
  readonly code = 'ERR_TIMEOUT';

  constructor(owner: string, timeoutMs: number) {
    super(`${owner}: the batch did not settle within ${timeoutMs} ms`);
  }
}

/** A key that the batch function's Map lacks, where `missing` is `'error'`. */
export class MissingKeyError extends Error {
  override readonly name = 'MissingKeyError';
  readonly code = 'ERR_MISSING_KEY';
}

/** The batcher's queue is full: the item was not taken. */
export class QueueFullError extends Error {
  override readonly name = 'QueueFullError';
  readonly code = 'ERR_OVERLOADED';
  readonly reason = 'queue_full';
}

/** The batcher has been closed: the item was not taken. */
export class BatcherClosedError extends Error {
  override readonly name = 'BatcherClosedError';
  readonly code = 'ERR_CLOSED';
}
