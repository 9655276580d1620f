import { SingleBar } from 'cli-progress';
import type { LoadTestProgress } from './recorder.ts';

/** Where nobody watches a bar (a log, a pipe), a line this often. */
const LINE_EVERY_MS = 5_000;

/** Shows on `stream` how a test goes: a bar that is drawn again, or lines. */
export function showProgress(
  stream: NodeJS.WriteStream,
  asBar: boolean,
): { update(progress: LoadTestProgress): void; stop(): void } {
  return asBar ? progressBar(stream) : progressLines(stream);
}

function progressBar(stream: NodeJS.WriteStream): ReturnType<typeof showProgress> {
  const bar = new SingleBar({
    stream,
    format: '{phase} {bar} {percentage}% | {text}',
    hideCursor: true,
    clearOnComplete: true,
  });
  let started = false;
  return {
    update(progress) {
      const payload = { phase: phases[progress.phase], text: describe(progress) };
      if (!started) bar.start(progress.durationMs, 0, payload);
      started = true;
      bar.setTotal(progress.durationMs);
      bar.update(Math.min(progress.durationMs, progress.elapsedMs), payload);
    },
    stop: () => bar.stop(),
  };
}

function progressLines(stream: NodeJS.WriteStream): ReturnType<typeof showProgress> {
  let shown: { phase: string; at: number } | undefined;
  return {
    update(progress) {
      const { phase, elapsedMs } = progress;
      // The first report comes after a second: by then it can be seen whether anything works.
      if (shown?.phase === phase && elapsedMs - shown.at < LINE_EVERY_MS * 0.98) return;
      shown = { phase, at: elapsedMs };
      stream.write(`${phases[phase]} ${(elapsedMs / 1000).toFixed(0)} s: ${describe(progress)}\n`);
    },
    stop() {},
  };
}

const phases = { warmup: 'warm-up', measuring: 'measuring', draining: 'last answers' };

function describe({
  phase,
  total,
  failures,
  requestsPerSecond,
  inFlight,
  latencyMs: { p50, p99 },
}: LoadTestProgress): string {
  if (phase === 'warmup') return `${inFlight} in flight`;
  const latency = Number.isNaN(p50) ? '' : `, p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`;
  return `${total} requests, ${failures} failed, ${requestsPerSecond.toFixed(0)}/s${latency}`;
}
