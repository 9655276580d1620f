import { numberOption } from '../check-options.ts';
import type { Clock } from '../clock.ts';
import { type HopRequest, isSafe, isStreamed } from './hop.ts';
import { Latencies } from './latencies.ts';
import { RetryBudgets } from './retry-budgets.ts';

/**
 * When a second request is sent because the first has not been answered yet; whichever is answered first counts, the
 * other is broken off. `{}` takes all defaults. (Dean and Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013.)
 */
export interface HedgePolicy {
  /**
   * How long the first request may be without an answer. Milliseconds, from 0. Default: what 95 % of the latest 200 answers
   * of the origin took at most, but 10 at least; no hedge before 20 of them are known.
   */
  delayMs?: number | undefined;
  /** Requests beside the first one, each `delayMs` after the one before. Default 1, from 1 to 5. */
  maxHedges?: number | undefined;
  /**
   * Hedges that a request earns its origin. Each origin has ten in reserve; when they are used up, so much more load is all
   * that a slow server gets. 0 to 1, default 0.1.
   */
  budgetRatio?: number | undefined;
}

/** Decides whether and when a request is sent a second time while the first is under way. */
export class Hedge {
  readonly maxHedges: number;
  readonly clock: Clock;
  readonly #delayMs: number | undefined;
  readonly #budgets: RetryBudgets;
  readonly #latencies = new Latencies();

  constructor(policy: HedgePolicy, clock: Clock) {
    const number = (option: keyof HedgePolicy, fallback: number, rule: Parameters<typeof numberOption>[4]) =>
      numberOption('HttpPool.hedge', option, policy[option], fallback, rule);
    this.#delayMs = policy.delayMs === undefined ? undefined : number('delayMs', 0, { min: 0, max: 2_147_483_647 });
    this.maxHedges = number('maxHedges', 1, { min: 1, max: 5, integer: true });
    this.#budgets = new RetryBudgets(number('budgetRatio', 0.1, { min: 0, max: 1 }));
    this.clock = clock;
  }

  /** A request goes out: how long it may be without an answer, in milliseconds; undefined when it is sent once, come what may. */
  delay(request: HopRequest): number | undefined {
    if (!isSafe(request.method) || isStreamed(request.body)) return undefined;
    this.#budgets.earn(request.origin);
    if (this.#delayMs !== undefined) return this.#delayMs;
    const p95 = this.#latencies.p95(request.origin);
    return p95 === undefined ? Number.POSITIVE_INFINITY : Math.max(leastDelayMs, p95);
  }

  /** Takes one from the budget, if there is one. */
  spend(request: HopRequest): boolean {
    return this.#budgets.spend(request.origin);
  }

  answered(request: HopRequest, ms: number): void {
    if (this.#delayMs === undefined) this.#latencies.observe(request.origin, ms);
  }
}

/** Less is what a busy event loop takes to notice an answer that is there, and each hedge costs a connection. */
const leastDelayMs = 10;
