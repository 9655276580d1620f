import type { BreakerRunOptions, CircuitBreaker } from './circuit-breaker.ts';
import { type Classify, classifyThrown, type Outcome, type Verdict } from './classify.ts';
import { classifyHttp } from './http.ts';
import { checkFunction, checkMethods, checkOptionalFunction, checkOptionalString } from './option-checks.ts';

export interface GuardedToolOptions {
  /** What the model is told is unavailable. Default: the breaker's name. */
  name?: string | undefined;
  /** What the breaker's `admit` is asked with, for example the tool's annotations. Default: none. */
  context?: unknown;
  /** Judges a call; `undefined` leaves it to the default: `classifyToolResult`, and for errors the breaker's own `classify` if it has one. */
  classify?: Classify | undefined;
}

interface Refusal {
  isError: true;
  content: { type: 'text'; text: string }[];
  _meta: { 'x/error': { code: string; reason: string; retryAfterMs?: number } };
}

/**
 * An MCP tool handler under a circuit breaker. While the circuit is open the tool answers at once with an error result
 * that names the dependency and the seconds to wait. The handler's arguments are passed on as they are, its own `ctx`
 * and `ctx.signal` with them: a breaker sets no time-out, so there is no other reason to stop than the caller's. Errors
 * pass through unchanged; one error object that several concurrent calls end with (a batch they share) is one failure.
 */
export function guardedTool<Handler extends (...args: never[]) => unknown>(
  breaker: CircuitBreaker,
  handler: Handler,
  options: GuardedToolOptions = {},
): Handler {
  checkMethods('breaker', breaker, ['run']);
  checkFunction('handler', handler);
  checkOptionalString('name', options.name);
  checkOptionalFunction('classify', options.classify);
  const seen = failuresOf(breaker);
  const guarded = async (...args: never[]): Promise<unknown> => {
    const began = seen.began();
    const run: BreakerRunOptions = {
      signal: signalOf(args.at(-1)),
      context: options.context,
      classify: (outcome) => {
        const verdict = options.classify?.(outcome) ?? classifyCall(breaker, outcome);
        const failed = verdict !== 'success' && verdict !== 'ignore';
        return failed && 'error' in outcome && seen.hasCounted(outcome.error, began) ? 'ignore' : verdict;
      },
    };
    try {
      return await breaker.run(() => handler(...args), run);
    } catch (error) {
      const { code, retryAfterMs, dependency } = (error ?? {}) as Record<string, unknown>;
      if (code !== 'ERR_CIRCUIT_OPEN') throw error;
      // A tool may call a second dependency under a breaker of its own: then that is the one that is down.
      const other = typeof dependency === 'string' && dependency !== breaker.name ? dependency : undefined;
      const name = other ?? options.name ?? breaker.name;
      return refusal(name, typeof retryAfterMs === 'number' ? retryAfterMs : undefined);
    }
  };
  return guarded as unknown as Handler;
}

/** Parse error, invalid request, method not found, invalid params, resource not found, URL elicitation required. */
const CALLERS_ERRORS: ReadonlySet<unknown> = new Set([-32_700, -32_600, -32_601, -32_602, -32_002, -32_042]);

/**
 * Judges a tool call. A result that is an error (`isError`), whether the tool's own or another wrapper's refusal, says
 * nothing about the dependency. Of thrown errors, protocol errors that blame the request or ask something of the caller (JSON-RPC -32700, -32600 to
 * -32602, -32002, -32042), validation errors and HTTP 4xx say nothing either; transport errors, time-outs and the rest are failures.
 */
export function classifyToolResult(outcome: Outcome): Verdict {
  if ('value' in outcome) {
    const { isError, _meta } = (outcome.value ?? {}) as { isError?: unknown; _meta?: Record<string, unknown> };
    return isError === true || _meta?.['x/error'] !== undefined ? 'ignore' : 'success';
  }
  const { code, name } = (outcome.error ?? {}) as { code?: unknown; name?: unknown };
  if (CALLERS_ERRORS.has(code)) return 'ignore';
  if (name === 'ZodError' || name === '$ZodError') return 'ignore';
  const verdict = classifyHttp(outcome);
  // An error was thrown, so whatever its status says, it is no success.
  return verdict === 'success' ? classifyThrown(outcome) : verdict;
}

function classifyCall(breaker: CircuitBreaker, outcome: Outcome): Verdict {
  return ('error' in outcome ? breaker.classify?.(outcome) : undefined) ?? classifyToolResult(outcome);
}

/** Which errors of a breaker's tools have been counted, and how many calls had begun by then. */
class CountedFailures {
  #calls = 0;
  readonly #counted = new WeakMap<object, number>();

  began(): number {
    this.#calls += 1;
    return this.#calls;
  }

  // An error that was counted after this call had begun is one that both calls waited for; an error object that is
  // thrown again by a later call is a new failure.
  hasCounted(error: unknown, began: number): boolean {
    if (typeof error !== 'object' || error === null) return false;
    if (began <= (this.#counted.get(error) ?? 0)) return true;
    this.#counted.set(error, this.#calls);
    return false;
  }
}

const failures = new WeakMap<CircuitBreaker, CountedFailures>();

function failuresOf(breaker: CircuitBreaker): CountedFailures {
  let counted = failures.get(breaker);
  if (counted === undefined) {
    counted = new CountedFailures();
    failures.set(breaker, counted);
  }
  return counted;
}

// `ctx.signal` of the 1.x SDK, `ctx.mcpReq.signal` of 2.x.
function signalOf(ctx: unknown): AbortSignal | undefined {
  const { signal, mcpReq } = (ctx ?? {}) as { signal?: AbortSignal; mcpReq?: { signal?: AbortSignal } };
  const found = mcpReq?.signal ?? signal;
  // A tool may be called without a ctx, with arguments of its own that are called so.
  return typeof found?.addEventListener === 'function' ? found : undefined;
}

function refusal(name: string | undefined, retryAfterMs: number | undefined): Refusal {
  const subject = name === undefined ? 'The service behind this tool' : `The service "${name}" behind this tool`;
  const seconds = Math.max(1, Math.ceil((retryAfterMs ?? 0) / 1_000));
  const advice =
    retryAfterMs === undefined
      ? 'It has been switched off by the operator; do not retry, continue without it or tell the user.'
      : `Do not call it again for ${seconds} second${seconds === 1 ? '' : 's'}; meanwhile continue without it, or tell the user when to try again.`;
  return {
    isError: true,
    content: [{ type: 'text', text: `${subject} is failing and was not called. ${advice}` }],
    _meta: {
      'x/error': {
        code: 'ERR_CIRCUIT_OPEN',
        reason: 'circuit_open',
        ...(retryAfterMs === undefined ? {} : { retryAfterMs: Math.ceil(retryAfterMs) }),
      },
    },
  };
}
