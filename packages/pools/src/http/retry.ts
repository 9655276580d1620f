import { longestTimerMs, numberOption } from '../check-options.ts';
import type { Clock } from '../clock.ts';
import { type HopRequest, type HopResponse, isStreamed } from './hop.ts';
import { retryAfter } from './response.ts';
import { RetryBudgets } from './retry-budgets.ts';

/** When and how a request is repeated. `{}` takes all defaults. */
export interface RetryPolicy {
  /** Attempts after the first one. Default 2, from 0. */
  maxRetries?: number | undefined;
  /**
   * The wait before the first retry is random between 0 and this, and the range doubles for each one after. Milliseconds,
   * default 100.
   */
  baseDelayMs?: number | undefined;
  /** The range grows to this at most; a server's Retry-After may ask for more. Milliseconds, default 2,000. */
  maxDelayMs?: number | undefined;
  /** Statuses that are answered with a retry. Default 408, 429, 502, 503 and 504. */
  statuses?: readonly number[] | undefined;
  /**
   * Retries that a request earns its origin. Each origin has ten in reserve; when they are used up, so much more load is all
   * that a failing server gets. 0 to 1, default 0.1.
   */
  budgetRatio?: number | undefined;
}

/** What an attempt came to. */
export type Outcome = { response: HopResponse } | { error: unknown };

/** Decides whether a request is sent once more, and when. */
export class Retry {
  readonly #maxRetries: number;
  readonly #baseDelayMs: number;
  readonly #maxDelayMs: number;
  readonly #statuses: ReadonlySet<number>;
  readonly #budgets: RetryBudgets;
  readonly #clock: Clock;
  readonly #random: () => number;

  constructor(policy: RetryPolicy, clock: Clock, random: () => number) {
    const number = (option: keyof RetryPolicy, fallback: number, rule: Parameters<typeof numberOption>[4]) =>
      numberOption('HttpPool.retry', option, policy[option] as number | undefined, fallback, rule);
    this.#maxRetries = number('maxRetries', 2, { min: 0, integer: true });
    this.#baseDelayMs = number('baseDelayMs', 100, { min: 0 });
    this.#maxDelayMs = number('maxDelayMs', 2_000, { min: 0 });
    this.#budgets = new RetryBudgets(number('budgetRatio', 0.1, { min: 0, max: 1 }));
    this.#statuses = new Set(policy.statuses ?? [408, 429, 502, 503, 504]);
    for (const status of this.#statuses) {
      if (Number.isInteger(status) && status >= 400 && status <= 599) continue;
      throw new RangeError(`@x/pools: HttpPool.retry.statuses must hold statuses from 400 to 599, got ${status}`);
    }
    this.#clock = clock;
    this.#random = random;
  }

  /** A request goes out for the first time. */
  earn(origin: string): void {
    this.#budgets.earn(origin);
  }

  /**
   * How long to wait before the next attempt, in milliseconds; undefined when there is none: it could not succeed, must not
   * be made, or would come after the time of the call is over (`deadline`, by the clock).
   */
  delay(request: HopRequest, outcome: Outcome, retries: number, deadline: number): number | undefined {
    if (retries >= this.#maxRetries || !idempotent.has(request.method) || isStreamed(request.body)) return undefined;
    if (!('response' in outcome ? this.#statuses.has(outcome.response.status) : mayPass(outcome.error))) {
      return undefined;
    }
    // "Full jitter" (Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015).
    const jitter = this.#random() * Math.min(this.#maxDelayMs, this.#baseDelayMs * 2 ** retries);
    const asked =
      'response' in outcome
        ? retryAfter(outcome.response.headers['retry-after'], this.#clock.wallNow ?? Date.now)
        : undefined;
    const ms = (asked ?? 0) + jitter;
    const leftMs = deadline - this.#clock.now();
    return ms < Math.min(leftMs, longestTimerMs) && this.#budgets.spend(request.origin) ? ms : undefined;
  }
}

/** RFC 9110, 9.2.2, without TRACE. */
const idempotent = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);

/** Failures of the network that the next attempt may not meet. ERR_TIMEOUT is here that of one attempt, not of the call. */
function mayPass(error: unknown): boolean {
  const { code, cause } = error as { code?: unknown; cause?: { code?: unknown } };
  return passing.has(code) && cause?.code !== 'ENOTFOUND';
}

const passing = new Set<unknown>(['ERR_UNREACHABLE', 'ERR_CONNECT_TIMEOUT', 'ERR_CONNECTION_LOST', 'ERR_TIMEOUT']);
