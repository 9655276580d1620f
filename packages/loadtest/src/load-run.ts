import { type EventLoopUtilization, performance } from 'node:perf_hooks';
import type { Clock } from './clock.ts';
import { Ended, type Exchange, LONGEST_ANSWER } from './exchange.ts';
import type { McpSession } from './mcp-session.ts';
import { LONGEST_TIMER_MS } from './option-checks.ts';
import { type Failure, failure, failureOf, networkFailure } from './outcome.ts';
import { type LoadTestProgress, type LoadTestResult, Recorder } from './recorder.ts';

export interface LoadRunOptions {
  sessions: readonly McpSession[];
  /** The `params` of the nth call as JSON. */
  params: (seq: number) => string;
  concurrency: number;
  durationMs: number;
  rate: number | undefined;
  warmupMs: number;
  timeoutMs: number;
  onProgress: ((progress: LoadTestProgress) => void) | undefined;
  progressMs: number;
  clock: Clock;
}

export type Measured = Omit<LoadTestResult, 'target' | 'tool' | 'concurrency' | 'rate'>;

/** After a connection failed, its lane waits: a dead target makes a few failures a second, not a million. */
const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 1_000;

/**
 * `concurrency` lanes, each with at most one request in flight. In a closed loop a lane sends when it has its answer. In
 * an open loop the lanes take turns from one schedule, so that the request due next is sent by whichever lane is free;
 * if none is, it is sent late and its latency counts from when it was due. (Gil Tene, "How NOT to Measure Latency";
 * the scheme is that of wrk2.)
 */
export class LoadRun {
  readonly done: Promise<Measured>;
  readonly #options: LoadRunOptions;
  readonly #recorder = new Recorder();
  readonly #startedAt: number;
  readonly #measureFrom: number;
  #measureUntil: number;
  /** How many requests fall due in all; in a closed loop that is not known. */
  readonly #slots: number;
  #seq = 0;
  #aborted = false;
  readonly #inFlight = new Set<Exchange>();
  readonly #sleepers = new Map<() => void, unknown>();
  #utilization: EventLoopUtilization = performance.eventLoopUtilization();
  #progressTimer: unknown;
  #reported = { at: 0, total: 0 };

  constructor(options: LoadRunOptions) {
    this.#options = options;
    this.#startedAt = options.clock.now();
    this.#measureFrom = this.#startedAt + options.warmupMs;
    this.#measureUntil = this.#measureFrom + options.durationMs;
    this.#slots =
      options.rate === undefined
        ? Infinity
        : Math.ceil(((options.warmupMs + options.durationMs) * options.rate) / 1000);
    this.#reported.at = this.#startedAt;
    this.done = this.#run();
  }

  abort(): void {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#measureUntil = Math.min(this.#measureUntil, this.#options.clock.now());
    for (const exchange of this.#inFlight) exchange.abort();
    for (const wake of [...this.#sleepers.keys()]) wake();
  }

  async #run(): Promise<Measured> {
    const { clock, concurrency, onProgress } = this.#options;
    if (onProgress !== undefined) this.#scheduleProgress();
    const warmup = this.#options.warmupMs > 0 ? this.#sleep(this.#options.warmupMs) : undefined;
    void warmup?.then(() => {
      this.#utilization = performance.eventLoopUtilization();
    });
    try {
      await Promise.all(Array.from({ length: concurrency }, () => this.#lane()));
    } catch (error) {
      // The args function threw; the other lanes must not go on without anybody who waits for them.
      this.abort();
      throw error;
    } finally {
      clock.clearTimeout(this.#progressTimer);
      for (const wake of [...this.#sleepers.keys()]) wake();
    }
    return this.#measured();
  }

  async #lane(): Promise<void> {
    const { clock, rate } = this.#options;
    let pauseMs = 0;
    for (;;) {
      const seq = this.#seq;
      const due = rate === undefined ? clock.now() : this.#startedAt + (seq * 1000) / rate;
      if (this.#aborted || seq >= this.#slots || clock.now() >= this.#measureUntil) return;
      this.#seq++;
      for (let wait = due - clock.now(); wait > 0 && !this.#aborted; wait = due - clock.now()) await this.#sleep(wait);
      if (this.#aborted) return;
      const failed = await this.#call(seq, due);
      pauseMs = failed?.class === 'network' ? Math.min(LONGEST_PAUSE_MS, pauseMs * 2 || FIRST_PAUSE_MS) : 0;
      if (pauseMs > 0) await this.#sleep(Math.min(pauseMs, Math.max(0, this.#measureUntil - clock.now())));
    }
  }

  async #call(seq: number, due: number): Promise<Failure | undefined> {
    const { sessions, params, clock } = this.#options;
    // Ids are unique over all sessions; 0 is that of the handshake.
    const id = seq + 1;
    const session = sessions[seq % sessions.length] as McpSession;
    const exchange = session.call(id, params(seq));
    this.#inFlight.add(exchange);
    // The args function may have asked for the end.
    if (this.#aborted) exchange.abort();
    let failed: Failure | undefined;
    let endedAt: number | undefined;
    try {
      const reply = await exchange.done;
      endedAt = reply.at;
      failed = failureOf(reply, id);
    } catch (error) {
      if (error instanceof Ended && error.reason === 'aborted') return undefined;
      failed = failureToAnswer(error, this.#options.timeoutMs);
    } finally {
      this.#inFlight.delete(exchange);
    }
    endedAt ??= clock.now();
    if (endedAt >= this.#measureFrom && endedAt <= this.#measureUntil) this.#recorder.recordEnd(failed);
    if (due >= this.#measureFrom) this.#recorder.record(failed, endedAt - due);
    return failed;
  }

  #measured(): Measured {
    const recorder = this.#recorder;
    const durationMs = this.#aborted ? Math.max(0, this.#measureUntil - this.#measureFrom) : this.#options.durationMs;
    const perSecond = (count: number) => (durationMs > 0 ? (count * 1000) / durationMs : 0);
    return {
      durationMs,
      aborted: this.#aborted,
      total: recorder.total,
      successes: recorder.successes,
      failures: recorder.total - recorder.successes,
      failuresByClass: recorder.failures,
      notSent: this.#notSent(),
      requestsPerSecond: perSecond(recorder.inTime.total),
      successesPerSecond: perSecond(recorder.inTime.successes),
      latencyMs: recorder.latencyMs,
      failureLatencyMs: recorder.failureLatencyMs,
      generatorUtilization: performance.eventLoopUtilization(this.#utilization).utilization,
    };
  }

  #notSent(): number {
    const { rate } = this.#options;
    if (rate === undefined) return 0;
    const due = this.#aborted ? Math.ceil(((this.#measureUntil - this.#startedAt) * rate) / 1000) : this.#slots;
    return Math.max(0, due - this.#seq);
  }

  /** Ends early on abort, and where a timer cannot be so long. */
  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#options.clock.clearTimeout(this.#sleepers.get(wake));
        this.#sleepers.delete(wake);
        resolve();
      };
      this.#sleepers.set(wake, this.#options.clock.setTimeout(wake, Math.min(ms, LONGEST_TIMER_MS)));
    });
  }

  #scheduleProgress(): void {
    this.#progressTimer = this.#options.clock.setTimeout(() => {
      this.#scheduleProgress();
      this.#report();
    }, this.#options.progressMs);
  }

  #report(): void {
    const { clock, warmupMs, durationMs, onProgress } = this.#options;
    const now = clock.now();
    const warm = now < this.#measureFrom;
    const { total, successes, latencyMs } = this.#recorder;
    const requestsPerSecond = ((total - this.#reported.total) * 1000) / (now - this.#reported.at);
    this.#reported = { at: now, total };
    try {
      onProgress?.({
        phase: warm ? 'warmup' : now >= this.#measureUntil ? 'draining' : 'measuring',
        elapsedMs: now - (warm ? this.#startedAt : this.#measureFrom),
        durationMs: warm ? warmupMs : durationMs,
        total,
        successes,
        failures: total - successes,
        inFlight: this.#inFlight.size,
        requestsPerSecond,
        latencyMs,
      });
    } catch {
      // Whoever watches must not end the test.
    }
  }
}

function failureToAnswer(error: unknown, timeoutMs: number): Failure {
  if (!(error instanceof Ended)) return networkFailure(error);
  if (error.reason === 'too-long') return failure('protocol', 'too_long', `more than ${LONGEST_ANSWER} bytes`);
  return failure('timeout', 'timeout', `no answer within ${timeoutMs} ms`);
}
