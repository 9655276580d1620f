import { beginWork } from './begin-work.ts';
import type { Clock } from './clock.ts';
import { TimeoutError } from './errors.ts';
import type { RunContext } from './run-context.ts';
import { whenAborted } from './when-aborted.ts';

/** How work ended: as it did of itself, and whether its caller was still there. */
export type Ending = ({ value: unknown } | { error: unknown }) & { leftBy?: 'abort' | 'timeout' };

export interface Leaving {
  signal: AbortSignal | undefined;
  timeoutMs: number | undefined;
  clock: Clock;
  /** Named in the time-out's message. */
  what: string;
  /** The caller has gone, the work has not ended. */
  onLeft(): void;
  /** The work has really ended. Called once, before the caller is told. */
  onEnded(ending: Ending): void;
}

/**
 * Runs `fn` for a caller who may leave before it ends: on abort or when the time is up the returned promise rejects at
 * once, while the work is told through its signal and ends when it ends.
 */
export function runLeavable<T>(fn: (context: RunContext) => T | PromiseLike<T>, leaving: Leaving): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const { signal, timeoutMs, clock } = leaving;
    // The caller's own signal does where it is the only reason to stop.
    const controller = timeoutMs === undefined ? undefined : new AbortController();
    let leftBy: 'abort' | 'timeout' | undefined;
    let timer: unknown;

    const detach = (): void => {
      stopListening?.();
      if (timer !== undefined) clock.clearTimeout(timer);
    };
    const leave = (by: 'abort' | 'timeout', reason: unknown): void => {
      leftBy = by;
      detach();
      leaving.onLeft();
      reject(reason);
      controller?.abort(reason);
    };
    const end = (ending: Ending): void => {
      if (leftBy === undefined) detach();
      else ending.leftBy = leftBy;
      leaving.onEnded(ending);
    };

    const stopListening = signal && whenAborted(signal, () => leave('abort', signal.reason));
    if (timeoutMs !== undefined) {
      timer = clock.setTimeout(() => leave('timeout', new TimeoutError(timeoutMs, leaving.what)), timeoutMs);
    }
    void beginWork(
      fn,
      { signal: (controller?.signal ?? signal) as AbortSignal },
      (value) => {
        end({ value });
        resolve(value);
      },
      (error: unknown) => {
        end({ error });
        reject(error);
      },
    );
  });
}
