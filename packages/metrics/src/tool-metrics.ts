import type { Counter, Gauge, Histogram } from 'prom-client';
import { OTHER } from './bounded-label.ts';
import type { Clock } from './clock.ts';
import type { RegisteredMetrics } from './registered-metrics.ts';
import type { SeriesLimit } from './series-limit.ts';
import { errorCode, statusOfResult, statusOfThrow, type ToolStatus } from './tool-status.ts';

export interface ToolMetricsOptions {
  metrics: RegisteredMetrics;
  limit: SeriesLimit;
  buckets: readonly number[];
  refusalCodes: ReadonlySet<string>;
  clock: Clock;
}

/** Durations, calls in flight and refusals of tools. */
export class ToolMetrics {
  readonly #durations: Histogram;
  readonly #inFlight: Gauge;
  readonly #refusals: Counter;
  readonly #limit: SeriesLimit;
  readonly #refusalCodes: ReadonlySet<string>;
  readonly #clock: Clock;
  readonly #maxTools: number;
  readonly #tools = new Map<string, Tool>();

  constructor({ metrics, limit, buckets, refusalCodes, clock }: ToolMetricsOptions) {
    this.#durations = metrics.histogram(
      DURATIONS,
      'Time from the call of a tool to its end, by status (success, error, refused, cancelled).',
      ['tool_name', 'status'],
      buckets,
    );
    this.#inFlight = metrics.gauge('tool_executions_in_flight', 'Tool calls that have not ended.', ['tool_name']);
    this.#refusals = metrics.counter(
      'tool_refusals_total',
      'Tool calls that were refused (shed, rate limited, circuit open, timed out), by code.',
      ['tool_name', 'code'],
    );
    this.#limit = limit;
    this.#refusalCodes = refusalCodes;
    this.#clock = clock;
    // One place is for the tools that have none of their own.
    this.#maxTools = Math.floor(limit.maxSeries / Math.max(STATUSES, refusalCodes.size)) - 1;
  }

  instrument<F extends (...args: never[]) => unknown>(name: string, handler: F): F {
    const tool = this.#tool(name);
    const clock = this.#clock;
    const run = handler as unknown as (...args: unknown[]) => unknown;
    const end = (startedAt: number, status: ToolStatus): void => {
      tool.inFlight--;
      this.#durations.observe({ tool_name: tool.name, status }, (clock.now() - startedAt) / 1_000);
    };
    const judge = (result: unknown, context: unknown): ToolStatus => this.#statusOf(tool, result, context);
    function instrumented(this: unknown, ...args: unknown[]): unknown {
      const startedAt = clock.now();
      tool.inFlight++;
      const context = args.at(-1);
      let result: unknown;
      let waits: boolean;
      try {
        result = run.apply(this, args);
        waits = isThenable(result);
      } catch (error) {
        end(startedAt, statusOfThrow(context));
        throw error;
      }
      if (!waits) {
        end(startedAt, judge(result, context));
        return result;
      }
      // A thenable that is no promise may throw, or call back twice.
      return Promise.resolve(result).then(
        (value) => {
          end(startedAt, judge(value, context));
          return value;
        },
        (error: unknown) => {
          end(startedAt, statusOfThrow(context));
          throw error;
        },
      );
    }
    return instrumented as unknown as F;
  }

  /** Calls in flight are counted in plain numbers: a gauge that goes up and down costs as much as the histogram. */
  collect(): void {
    for (const { name, inFlight } of this.#tools.values()) this.#inFlight.set({ tool_name: name }, inFlight);
  }

  /** The same for each call with a name: a stateless server registers its tools anew for each request. */
  #tool(name: string): Tool {
    let tool = this.#tools.get(name);
    if (tool !== undefined) return tool;
    // Names past the limit are not kept either: they share one tool, and are counted each time they are instrumented.
    if (name !== OTHER && this.#tools.size >= this.#maxTools) {
      this.#limit.countDropped(DURATIONS, STATUSES);
      return this.#tool(OTHER);
    }
    tool = { name, inFlight: 0 };
    this.#tools.set(name, tool);
    return tool;
  }

  #statusOf(tool: Tool, result: unknown, context: unknown): ToolStatus {
    try {
      const status = statusOfResult(result, context, this.#refusalCodes);
      if (status === 'refused') this.#refusals.inc({ tool_name: tool.name, code: errorCode(result) as string });
      return status;
    } catch {
      // A result with a getter that throws fails where it is used, not here.
      return 'error';
    }
  }
}

interface Tool {
  readonly name: string;
  inFlight: number;
}

const DURATIONS = 'tool_execution_duration_seconds';

/** Series for each tool: one for each status. */
const STATUSES = 4;

function isThenable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}
