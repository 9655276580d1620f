/** How a tool call ended, the `status` label of `tool_execution_duration_seconds`. */
export type ToolStatus = 'success' | 'error' | 'refused' | 'cancelled';

export const toolStatuses: readonly ToolStatus[] = ['success', 'error', 'refused', 'cancelled'];

/** The status of a call that returned. */
export function statusOfResult(result: unknown, context: unknown): ToolStatus {
  if (!isObject(result) || result.isError !== true) return 'success';
  // A caller who left is the reason for the failure, whatever the handler made of it.
  if (isAborted(context)) return 'cancelled';
  return refusalCode(result) === undefined ? 'error' : 'refused';
}

/** The status of a call that threw. */
export function statusOfThrow(context: unknown): ToolStatus {
  return isAborted(context) ? 'cancelled' : 'error';
}

/** The code of a refusal (shed, rate limited, circuit open, …), '' if it has none; undefined if it is no refusal. */
export function refusalCode(result: unknown): string | undefined {
  const meta = isObject(result) ? result._meta : undefined;
  const refusal = isObject(meta) ? meta['x/error'] : undefined;
  if (!isObject(refusal)) return undefined;
  return typeof refusal.code === 'string' ? refusal.code : '';
}

/** Both lines of the SDK: `ctx.signal` (1.x) and `ctx.mcpReq.signal` (2.x). */
function isAborted(context: unknown): boolean {
  if (!isObject(context)) return false;
  const signal = context.signal ?? (isObject(context.mcpReq) ? context.mcpReq.signal : undefined);
  return isObject(signal) && signal.aborted === true;
}

function isObject(value: unknown): value is { readonly [key: string]: unknown } {
  return typeof value === 'object' && value !== null;
}
