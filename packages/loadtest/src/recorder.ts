import { build, type Histogram } from 'hdr-histogram-js';
import { type Failure, type FailureClass, failureClasses } from './outcome.ts';

/** Milliseconds; three significant digits. NaN (in JSON: null) where nothing was measured. */
export interface LatencySummary {
  min: number;
  mean: number;
  p50: number;
  p90: number;
  p95: number;
  p99: number;
  p999: number;
  max: number;
}

export interface FailureSummary {
  count: number;
  /** How often each code came; beyond 20 codes, `other`. */
  codes: { [code: string]: number };
  /** The first five different texts, and how often each came. */
  samples: { message: string; count: number }[];
}

export interface LoadTestResult {
  target: string;
  tool: string;
  concurrency: number;
  /** Requests per second that were to be sent; null in a closed loop. */
  rate: number | null;
  /** How long was measured, without warm-up and without waiting for the last answers. Milliseconds. */
  durationMs: number;
  /** Whether `signal` ended it before its time. */
  aborted: boolean;
  /** Requests that were answered, timed out or failed. */
  total: number;
  successes: number;
  failures: number;
  failuresByClass: { [K in FailureClass]: FailureSummary };
  /** Requests of `rate` whose time had come but for which no connection was free. 0 in a closed loop. */
  notSent: number;
  /** Requests that ended within `durationMs`, also those that the warm-up had sent, by its seconds. */
  requestsPerSecond: number;
  /** Of these, successes. */
  successesPerSecond: number;
  /**
   * Latency of successes, and of time-outs as the time waited: leaving them out would make a server that hangs look
   * fast, as would fast refusals counted in. With `rate`, from the time the request was to be sent.
   */
  latencyMs: LatencySummary;
  /** Latency of all other failures. */
  failureLatencyMs: LatencySummary;
  /** Share of the time in which this process was busy, 0..1. Near 1 the generator is what was measured. */
  generatorUtilization: number;
}

export interface LoadTestProgress {
  phase: 'warmup' | 'measuring' | 'draining';
  /** Since the start of the phase (draining: of the measurement). */
  elapsedMs: number;
  /** How long the phase is to take. */
  durationMs: number;
  total: number;
  successes: number;
  failures: number;
  inFlight: number;
  /** Since the last report. */
  requestsPerSecond: number;
  latencyMs: LatencySummary;
}

/** Counts and latencies of one load test. */
export class Recorder {
  total = 0;
  successes = 0;
  /** Requests and successes that ended within the measurement, whenever they were sent. */
  inTime = { total: 0, successes: 0 };
  readonly failures: { [K in FailureClass]: FailureSummary } = emptyFailures();
  readonly #latency = new Latency();
  readonly #failureLatency = new Latency();

  /** A request ended within the measurement: the rate of a server is that of its answers. */
  recordEnd(failure: Failure | undefined): void {
    this.inTime.total++;
    if (failure === undefined) this.inTime.successes++;
  }

  /** A request that was due within the measurement ended. */
  record(failure: Failure | undefined, latencyMs: number): void {
    this.total++;
    if (failure === undefined) {
      this.successes++;
      this.#latency.record(latencyMs);
      return;
    }
    (failure.class === 'timeout' ? this.#latency : this.#failureLatency).record(latencyMs);
    addFailure(this.failures[failure.class], failure);
  }

  get latencyMs(): LatencySummary {
    return this.#latency.summary();
  }

  get failureLatencyMs(): LatencySummary {
    return this.#failureLatency.summary();
  }
}

/** HdrHistogram of microseconds: constant memory, three significant digits at any latency. */
class Latency {
  readonly #histogram: Histogram = build({
    bitBucketSize: 64,
    lowestDiscernibleValue: 1,
    highestTrackableValue: 60_000_000,
    autoResize: true,
    numberOfSignificantValueDigits: 3,
    useWebAssembly: false,
  });
  #min = Number.NaN;
  #max = Number.NaN;
  #sum = 0;

  record(ms: number): void {
    this.#histogram.recordValue(Math.max(0, Math.round(ms * 1000)));
    if (!(ms >= this.#min)) this.#min = ms;
    if (!(ms <= this.#max)) this.#max = ms;
    this.#sum += ms;
  }

  summary(): LatencySummary {
    const count = this.#histogram.totalCount;
    const at = (percentile: number) =>
      count === 0 ? Number.NaN : Math.min(this.#max, this.#histogram.getValueAtPercentile(percentile) / 1000);
    return {
      min: this.#min,
      mean: this.#sum / count,
      p50: at(50),
      p90: at(90),
      p95: at(95),
      p99: at(99),
      p999: at(99.9),
      max: this.#max,
    };
  }
}

const MAX_CODES = 20;
const MAX_SAMPLES = 5;

function addFailure(summary: FailureSummary, { code, message }: Failure): void {
  summary.count++;
  const known = Object.hasOwn(summary.codes, code) || Object.keys(summary.codes).length < MAX_CODES;
  const counted = known ? code : 'other';
  summary.codes[counted] = (summary.codes[counted] ?? 0) + 1;
  const sample = summary.samples.find((candidate) => candidate.message === message);
  if (sample !== undefined) sample.count++;
  else if (summary.samples.length < MAX_SAMPLES) summary.samples.push({ message, count: 1 });
}

function emptyFailures(): { [K in FailureClass]: FailureSummary } {
  return Object.fromEntries(
    failureClasses.map((name) => [name, { count: 0, codes: Object.create(null), samples: [] }]),
  ) as unknown as {
    [K in FailureClass]: FailureSummary;
  };
}
