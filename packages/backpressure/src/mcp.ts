import { identify } from './identify.ts';
import { jittered } from './jitter.ts';
import { checkAtLeast, checkFunction, checkMethods, checkOneOf, checkPositive, checkString } from './option-checks.ts';
import { contextOf, signalOf, type ToolContext, withSignal } from './tool-context.ts';
import { type Priority, priorities } from './waiting-room.ts';

export { identify } from './identify.ts';
export type { ToolContext } from './tool-context.ts';

/** A tool handler of either SDK: `(args, ctx)` or `(ctx)`. */
export type ToolHandler = (...callArguments: never[]) => unknown;

/** What a `ConcurrencyLimiter` has of use here. */
export interface ToolLimiter {
  run<T>(
    fn: (context: { readonly signal: AbortSignal }) => T | PromiseLike<T>,
    options: { signal?: AbortSignal; priority?: Priority; key?: string; timeoutMs?: number },
  ): Promise<T>;
}

export interface LimitedToolOptions {
  /** The tool's or its dependency's name, for the words the model reads. Default: "This tool". */
  name?: string | undefined;
  /** The caller, for fairness between callers in the queue. Default: all are one caller. `identify` does where there are tokens. */
  key?: ((context: ToolContext) => string | undefined) | undefined;
  /** Default `'default'`. */
  priority?: Priority | ((context: ToolContext) => Priority) | undefined;
  /** How long the handler may run, in milliseconds. Then its signal aborts, and the permit is kept until it has really ended. Default: no bound. */
  timeoutMs?: number | undefined;
}

/**
 * Runs a tool's handler under a limiter. A refusal and a time-out become a tool result that tells the model when to try
 * again; what the handler itself throws passes through.
 */
export function limitedTool<H extends ToolHandler>(
  limiter: ToolLimiter,
  handler: H,
  options: LimitedToolOptions = {},
): H {
  const { name, key, priority, timeoutMs } = options;
  checkMethods('limiter', limiter, ['run']);
  checkFunction('handler', handler);
  if (name !== undefined) checkString('name', name);
  if (key !== undefined) checkFunction('key', key);
  if (priority !== undefined && typeof priority !== 'function') checkOneOf('priority', priority, priorities);
  if (timeoutMs !== undefined) checkAtLeast('timeoutMs', timeoutMs, 0);
  const limited = async (...callArguments: unknown[]): Promise<unknown> => {
    const context = contextOf(callArguments);
    const signal = signalOf(context);
    const caller = key?.(context);
    const importance = typeof priority === 'function' ? priority(context) : priority;
    let own: { error: unknown } | undefined;
    try {
      return await limiter.run(
        async (run) => {
          try {
            return await handler(
              ...((timeoutMs === undefined ? callArguments : withSignal(callArguments, run.signal)) as never[]),
            );
          } catch (error) {
            // A handler that hands on why its signal aborted says nothing of its own.
            if (error !== run.signal.reason) own = { error };
            throw error;
          }
        },
        {
          ...(signal && { signal }),
          ...(importance && { priority: importance }),
          ...(caller !== undefined && { key: caller }),
          ...(timeoutMs !== undefined && { timeoutMs }),
        },
      );
    } catch (error) {
      if (own !== undefined && own.error === error) throw error;
      const refusal = refusalOf(error, name);
      if (refusal === undefined) throw error;
      return refusal;
    }
  };
  return limited as unknown as H;
}

/** What a `RateLimiter` has of use here, and one that asks another process. */
export interface ToolRateLimiter {
  consume(
    key: string,
    options: { cost?: number; signal?: AbortSignal },
  ): Promise<{
    readonly allowed: boolean;
    readonly retryAfterMs: number;
    /** `'deny'`: a `RedisRateLimiter` could not ask, and was told to refuse then. */
    readonly decidedBy?: string;
  }>;
}

export interface RateLimitedToolOptions {
  /** The tool's name, for the words the model reads. Default: "This tool". */
  name?: string | undefined;
  /** The caller. Default `identify`. All for whom it gives undefined share one allowance. */
  key?: ((context: ToolContext) => string | undefined) | undefined;
  /** What a call weighs. Default 1. */
  cost?: number | undefined;
  /** A number from 0 to 1, for the jitter of the waits that are told. Default `Math.random`. */
  random?: (() => number) | undefined;
}

/** Lets each caller call a tool so often, and answers what is over it with a result that tells the model when to try again. */
export function rateLimitedTool<H extends ToolHandler>(
  rateLimiter: ToolRateLimiter,
  handler: H,
  options: RateLimitedToolOptions = {},
): H {
  const { name, key = identify, cost, random = Math.random } = options;
  checkMethods('rateLimiter', rateLimiter, ['consume']);
  checkFunction('handler', handler);
  if (name !== undefined) checkString('name', name);
  checkFunction('key', key);
  if (cost !== undefined) checkPositive('cost', cost);
  checkFunction('random', random);
  const limited = async (...callArguments: unknown[]): Promise<unknown> => {
    const context = contextOf(callArguments);
    const signal = signalOf(context);
    const caller = key(context);
    // Prefixed, so that nobody can choose the name that the nameless share.
    const verdict = await rateLimiter.consume(caller === undefined ? 'anyone' : `caller:${caller}`, {
      ...(cost !== undefined && { cost }),
      ...(signal && { signal }),
    });
    if (verdict.allowed) return handler(...(callArguments as never[]));
    const reason = verdict.decidedBy === 'deny' ? 'rate_limiter_unavailable' : 'rate_limited';
    return refusalOf({ code: 'ERR_OVERLOADED', reason, retryAfterMs: jittered(verdict.retryAfterMs, random) }, name);
  };
  return limited as unknown as H;
}

/** A tool result that says no. The hint is in the text and in `_meta`; clients check `structuredContent` against the tool's schema even of an error. */
interface Refusal {
  isError: true;
  content: [{ type: 'text'; text: string }];
  _meta: { 'x/error': { code: string; reason: string; retryAfterMs?: number } };
}

function refusalOf(error: unknown, name: string | undefined): Refusal | undefined {
  const { code, reason, retryAfterMs, timeoutMs } = (error ?? {}) as Record<string, unknown>;
  const tool = name === undefined ? 'This tool' : `"${name}"`;
  if (code === 'ERR_TIMEOUT' && typeof timeoutMs === 'number') {
    return refusal(
      `${tool} did not finish within ${seconds(timeoutMs)} and was stopped. Ask for less at once, or try again later.`,
      { code, reason: 'timeout' },
    );
  }
  if (code !== 'ERR_OVERLOADED' || typeof reason !== 'string' || typeof retryAfterMs !== 'number') return undefined;
  // From a limiter of somebody else's it may be no time.
  const waitMs = Number.isFinite(retryAfterMs) ? retryAfterMs : 1_000;
  const why = explanations[reason] ?? 'is busy';
  return refusal(`${tool} ${why}. Nothing was done. Try again in ${seconds(waitMs)}.`, {
    code,
    reason,
    retryAfterMs: waitMs,
  });
}

function refusal(text: string, error: Refusal['_meta']['x/error']): Refusal {
  return { isError: true, content: [{ type: 'text', text }], _meta: { 'x/error': error } };
}

const explanations: Record<string, string> = {
  queue_full: 'is busy: too many calls are waiting for it',
  queue_timeout: 'is busy: this call waited too long for its turn',
  deadline: 'is busy: this call could not have finished in time',
  shed: 'is busy and takes only more important calls now',
  rate_limited: 'was called too often',
  rate_limiter_unavailable: 'is not available for the moment',
  draining: 'is being shut down',
};

function seconds(ms: number): string {
  const whole = Math.max(1, Math.ceil(ms / 1_000));
  return whole === 1 ? '1 second' : `${whole} seconds`;
}
