import { boundedLabel, OTHER } from './bounded-label.ts';
import type { Clock } from './clock.ts';
import { DurationHistogram, type DurationSeries } from './duration-histogram.ts';
import { Family } from './family.ts';
import { refusalCode, statusOfResult, statusOfThrow, type ToolStatus, toolStatuses } from './tool-status.ts';

export interface ToolMetricsOptions {
  prefix: string;
  buckets: readonly number[];
  maxSeries: number;
  clock: Clock;
  /** Called before the values of the two families beside the histogram are read. */
  collect: () => void;
}

/** Durations, calls in flight and refusals of tools. */
export class ToolMetrics {
  readonly durations: DurationHistogram;
  readonly inFlight: Family;
  readonly refusals: Family;
  readonly #clock: Clock;
  readonly #maxSeries: number;
  readonly #tools = new Map<string, Tool>();
  #droppedTools = 0;

  constructor({ prefix, buckets, maxSeries, clock, collect }: ToolMetricsOptions) {
    this.#clock = clock;
    this.#maxSeries = maxSeries;
    this.durations = new DurationHistogram(
      `${prefix}tool_execution_duration_seconds`,
      'Time from the call of a tool to its end, by status (success, error, refused, cancelled).',
      buckets,
    );
    const common = { aggregator: 'sum', maxSeries, collect } as const;
    this.inFlight = new Family({
      ...common,
      name: `${prefix}tool_executions_in_flight`,
      help: 'Tool calls that have not ended.',
      type: 'gauge',
      labels: ['tool_name'],
    });
    this.refusals = new Family({
      ...common,
      name: `${prefix}tool_refusals_total`,
      help: 'Tool calls that were refused (shed, rate limited, circuit open, timed out), by code.',
      type: 'counter',
      labels: ['tool_name', 'code'],
    });
  }

  /** Series of the histogram that were not made because of `maxSeries`. */
  get droppedSeries(): number {
    return this.#droppedTools * toolStatuses.length;
  }

  instrument<F extends (...args: never[]) => unknown>(name: string, handler: F): F {
    const tool = this.#tool(name);
    const clock = this.#clock;
    const run = handler as unknown as (...args: unknown[]) => unknown;
    function instrumented(this: unknown, ...args: unknown[]): unknown {
      const startedAt = clock.now();
      tool.inFlight++;
      const context = args.at(-1);
      let result: unknown;
      try {
        result = run.apply(this, args);
      } catch (error) {
        finish(tool, statusOfThrow(context), clock.now() - startedAt);
        throw error;
      }
      if (!isThenable(result)) {
        finishResult(tool, result, context, clock.now() - startedAt);
        return result;
      }
      return result.then(
        (value) => {
          finishResult(tool, value, context, clock.now() - startedAt);
          return value;
        },
        (error: unknown) => {
          finish(tool, statusOfThrow(context), clock.now() - startedAt);
          throw error;
        },
      );
    }
    return instrumented as unknown as F;
  }

  /** Between `begin` and `end` of a collection. */
  collect(): void {
    for (const tool of new Set(this.#tools.values())) {
      this.inFlight.add(tool, tool.name, { labels: [], value: tool.inFlight });
      for (const [code, value] of tool.refusals) this.refusals.add(tool, tool.name, { labels: [code], value });
    }
  }

  /** The same for each call with a name: a stateless server registers its tools anew for each request. */
  #tool(name: string): Tool {
    const known = this.#tools.get(name);
    if (known !== undefined) return known;
    // Names beyond the bound are not kept either: they share one tool, and are counted each time they are instrumented.
    if (name !== OTHER && this.durations.size + 2 * toolStatuses.length > this.#maxSeries) {
      this.#droppedTools++;
      return this.#tool(OTHER);
    }
    const series = (status: ToolStatus) => this.durations.add({ tool_name: name, status });
    const tool: Tool = {
      name,
      inFlight: 0,
      refusals: new Map(),
      success: series('success'),
      error: series('error'),
      refused: series('refused'),
      cancelled: series('cancelled'),
    };
    this.#tools.set(name, tool);
    return tool;
  }
}

interface Tool extends Record<ToolStatus, DurationSeries> {
  readonly name: string;
  readonly refusals: Map<string, number>;
  inFlight: number;
}

/** Codes come from results, so that a handler could make them up without end. */
const MAX_CODES = 50;

function finishResult(tool: Tool, result: unknown, context: unknown, elapsedMs: number): void {
  let status: ToolStatus = 'error';
  try {
    status = statusOfResult(result, context);
    if (status === 'refused') {
      let code = boundedLabel(refusalCode(result) ?? '');
      if (tool.refusals.size >= MAX_CODES && !tool.refusals.has(code)) code = OTHER;
      tool.refusals.set(code, (tool.refusals.get(code) ?? 0) + 1);
    }
  } catch {
    // A result with a getter that throws fails where it is used, not here.
  }
  finish(tool, status, elapsedMs);
}

function finish(tool: Tool, status: ToolStatus, elapsedMs: number): void {
  tool.inFlight--;
  tool[status].record(elapsedMs / 1000);
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}
