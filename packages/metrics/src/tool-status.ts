/**
 * How a tool call ended, the `status` label of `tool_execution_duration_seconds`:
 * - `success`: it returned a result without `isError`
 * - `refused`: it returned a refusal, an error with one of the refusal codes in `_meta['x/error']`
 * - `cancelled`: it failed after the caller had left, whatever the handler made of it
 * - `error`: it failed in any other way
 */
export type ToolStatus = 'success' | 'error' | 'refused' | 'cancelled';

/** What the `/mcp` wrappers of @x/breaker and @x/backpressure answer instead of doing the work. */
export const wrapperRefusalCodes: readonly string[] = ['ERR_CIRCUIT_OPEN', 'ERR_OVERLOADED', 'ERR_TIMEOUT'];

/** The status of a call that returned. */
export function statusOfResult(result: unknown, context: unknown, refusalCodes: ReadonlySet<string>): ToolStatus {
  if (!isObject(result) || result.isError !== true) return 'success';
  if (isAborted(context)) return 'cancelled';
  return refusalCodes.has(errorCode(result) as string) ? 'refused' : 'error';
}

/** The status of a call that threw. */
export function statusOfThrow(context: unknown): ToolStatus {
  return isAborted(context) ? 'cancelled' : 'error';
}

/** `code` of the `_meta['x/error']` of a result. */
export function errorCode(result: unknown): unknown {
  const meta = isObject(result) ? result._meta : undefined;
  const error = isObject(meta) ? meta['x/error'] : undefined;
  return isObject(error) ? error.code : undefined;
}

/** Both lines of the SDK: `ctx.signal` (1.x) and `ctx.mcpReq.signal` (2.x). */
function isAborted(context: unknown): boolean {
  if (!isObject(context)) return false;
  try {
    const signal = context.signal ?? (isObject(context.mcpReq) ? context.mcpReq.signal : undefined);
    return isObject(signal) && signal.aborted === true;
  } catch {
    // What a getter of the context throws must not take the place of what the handler threw.
    return false;
  }
}

function isObject(value: unknown): value is { readonly [key: string]: unknown } {
  return typeof value === 'object' && value !== null;
}
