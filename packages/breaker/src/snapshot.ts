import { wrongOption } from './option-checks.ts';

/** What `toJSON()` gives and `initialState` takes: plain JSON, in wall-clock time, since it crosses processes. */
export interface BreakerSnapshot {
  version: 1;
  state: 'closed' | 'open' | 'forced-open' | 'forced-closed';
  /** When an open circuit may be probed. Milliseconds since 1970; 0 when not open. */
  openUntil: number;
  /** How many times the circuit has opened since it last recovered: what `recoveryBackoff` grows with. */
  openings: number;
}

const STATES = ['closed', 'open', 'forced-open', 'forced-closed'];

/** Throws a TypeError unless `value` is a snapshot of this version. */
export function checkSnapshot(value: unknown): BreakerSnapshot {
  const { version, state, openUntil, openings } = (value ?? {}) as Partial<Record<keyof BreakerSnapshot, unknown>>;
  const valid =
    version === 1 &&
    STATES.includes(state as string) &&
    Number.isFinite(openUntil) &&
    Number.isInteger(openings) &&
    (openings as number) >= 0;
  if (!valid) throw wrongOption('initialState', 'what toJSON() gave (version 1)', value);
  return value as BreakerSnapshot;
}
