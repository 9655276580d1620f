import { type Channel, channel } from 'node:diagnostics_channel';

/**
 * What became of one batch, of a `DataLoader` or a `Batcher`. The same object is published when a caller joins the batch,
 * when it starts and when it ends, and filled in on the way, so that a span of the batch can be linked to those of its callers.
 */
export interface BatchEvent {
  readonly kind: 'load' | 'write';
  /** The `name` of the loader or batcher. */
  readonly name: string | null;
  readonly partition: unknown;
  /** How many keys or items. */
  size: number;
  /** From the first key until the batch function was called. Milliseconds, as the two below. */
  waitMs: number;
  /** How long the batch function ran, as far as callers waited for it. */
  runMs: number;
  /** `undefined` while it runs. An abort is nobody's failure; a time-out is a failure. */
  outcome: 'success' | 'failure' | 'aborted' | undefined;
  /** Of a failure: what the batch function rejected with, threw, or broke the contract by. */
  error: unknown;
}

/** Published when a caller joins a batch, in the caller's own async context. A hit that waits for nothing joins none. */
export interface JoinEvent {
  /** The key, or the item. */
  readonly key: unknown;
  readonly batch: BatchEvent;
}

/**
 * The names of the `node:diagnostics_channel` channels; nothing is made or published for one that has no subscriber.
 * `batchStart` runs the batch function in its bound stores (`channel.bindStore`), so that spans below it find their parent.
 */
export const channelNames = {
  join: 'x:dataloader:join',
  batchStart: 'x:dataloader:batch:start',
  batchEnd: 'x:dataloader:batch:end',
} as const;

export const joinChannel: Channel = channel(channelNames.join);
export const startChannel: Channel = channel(channelNames.batchStart);
export const endChannel: Channel = channel(channelNames.batchEnd);

/** Whether anybody looks at what becomes of a batch that begins now. */
export function anyoneListens(onBatch: unknown): boolean {
  return (
    onBatch !== undefined || joinChannel.hasSubscribers || startChannel.hasSubscribers || endChannel.hasSubscribers
  );
}

export function newBatchEvent(kind: BatchEvent['kind'], name: string | null, partition: unknown): BatchEvent {
  return { kind, name, partition, size: 0, waitMs: 0, runMs: 0, outcome: undefined, error: undefined };
}

/** Tells whoever listens that the batch has ended. A listener that throws, or rejects, breaks nothing. */
export function publishEnd(event: BatchEvent, onBatch: ((event: BatchEvent) => unknown) | undefined): void {
  if (endChannel.hasSubscribers) endChannel.publish(event);
  try {
    const told = onBatch?.(event);
    if (told instanceof Promise) told.catch(() => {});
  } catch {
    // What watches batches must not fail the callers who wait for one.
  }
}
