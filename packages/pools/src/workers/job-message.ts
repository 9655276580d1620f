import type { TransferListItem } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { wrongType } from '../check-options.ts';
import type { Job } from './job.ts';

/** What is sent to a thread. */
interface JobMessage {
  /** What takes it, in the words of `task-loader.cjs`. */
  readonly entry: `${'task' | 'telling'}:${string}`;
  readonly body: unknown;
  readonly transferList: TransferListItem[] | undefined;
}

export function jobMessage({ input, name, transfer, progress }: Job): JobMessage {
  if (!Array.isArray(transfer)) throw wrongType('WorkerPool.run.transfer', 'an array', transfer);
  const moved = isMoved(input) ? input : undefined;
  const value = moved === undefined ? input : moved[Piscina.valueSymbol];
  let transferList: TransferListItem[] | undefined;
  if (transfer.length > 0 || moved !== undefined || progress !== undefined) {
    transferList = [...transfer];
    if (moved !== undefined) transferList.push(moved[Piscina.transferableSymbol] as TransferListItem);
    if (progress !== undefined) transferList.push(progress.remote);
  }
  // An array around each input would be a thirtieth of a round trip.
  return progress === undefined
    ? { entry: `task:${name}`, body: value, transferList }
    : { entry: `telling:${name}`, body: [value, progress.remote], transferList };
}

/** Wrapped by `move`: handed over instead of copied. */
function isMoved(input: unknown): input is { [key: symbol]: unknown } {
  return typeof input === 'object' && input !== null && Piscina.transferableSymbol in input;
}
