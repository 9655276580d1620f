import type { Ending } from './leavable-run.ts';
import type { Outcome } from './permit.ts';

export type Classify = (ending: { value: unknown } | { error: unknown }) => Outcome;

/** What an ending says of the capacity: an abort nothing, a time-out the worst, else what `classify` says. One that throws says nothing. */
export function outcomeOf(ending: Ending, classify: Classify): Outcome {
  if (ending.leftBy === 'abort') return 'ignore';
  if (ending.leftBy === 'timeout') return 'failure';
  try {
    return classify(ending);
  } catch {
    return 'ignore';
  }
}

/** The default: a dependency's time-out or refusal is overload; other errors are the work's own affair. */
export function classifyByCode(ending: { value: unknown } | { error: unknown }): Outcome {
  if ('value' in ending) return 'success';
  const code = (ending.error as { code?: unknown } | null | undefined)?.code;
  return code === 'ERR_TIMEOUT' || code === 'ERR_OVERLOADED' ? 'failure' : 'ignore';
}
