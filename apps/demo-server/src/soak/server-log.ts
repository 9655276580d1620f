import type { Recorder } from './recorder.ts';

/** Reports log entries of level error and above from index `from` on. Returns where to go on. */
export function checkLog(log: readonly Record<string, unknown>[], from: number, recorder: Recorder): number {
  for (const entry of log.slice(from)) {
    if (Number(entry.level) < 50) continue;
    const { code, message } = (entry.err ?? {}) as { code?: unknown; message?: unknown };
    recorder.violation(
      `logged as an error: ${entry.msg} (${entry.tool ?? 'no tool'}, ${code ?? 'no code'})`,
      String(message),
    );
  }
  return log.length;
}
