import { PoolError } from '../errors.ts';

/** How `task-runner.mjs` throws what a task has thrown. */
interface Thrown {
  thrown: unknown;
  properties: Record<string, unknown>;
}

/** The error for a task's caller, and whether its thread is gone. */
export function threadError(error: unknown, poolName: string, taskName: string): { error: unknown; lost: boolean } {
  if (isThrown(error)) {
    const { thrown, properties } = error;
    if (thrown instanceof Error) {
      for (const [key, value] of Object.entries(properties)) {
        Object.defineProperty(thrown, key, { value, enumerable: key !== 'name', writable: true, configurable: true });
      }
    }
    return { error: thrown, lost: false };
  }
  if ((error as { noSuchTask?: unknown } | null)?.noSuchTask === true) {
    const text = `WorkerPool ${poolName}: the worker file has no task of the name ${JSON.stringify(taskName)}`;
    return { error: new PoolError('ERR_NO_SUCH_TASK', text), lost: false };
  }
  const { uncloneable } = (error ?? {}) as { uncloneable?: unknown };
  if (typeof uncloneable === 'string') {
    const text = `WorkerPool ${poolName}: the result of the task cannot be copied to another thread`;
    const cause = new Error(uncloneable);
    return { error: new PoolError('ERR_RESULT_NOT_CLONEABLE', text, { cause }), lost: false };
  }
  const { name, code } = error as { name?: unknown; code?: unknown };
  // Input that cannot be copied to another thread, or be handed over to it.
  if (name === 'DataCloneError' || code === 'ERR_INVALID_TRANSFER_OBJECT') return { error, lost: false };
  const how = code === 'ERR_WORKER_OUT_OF_MEMORY' ? 'ran out of memory' : 'ended';
  const text = `WorkerPool ${poolName}: the worker ${how} while it ran the task`;
  return { error: new PoolError('ERR_WORKER_LOST', text, { cause: error }), lost: true };
}

function isThrown(error: unknown): error is Thrown {
  return typeof error === 'object' && error !== null && 'thrown' in error && 'properties' in error;
}
