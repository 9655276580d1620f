import { inspect } from 'node:util';

/** What both servers can be told at their start. */
export interface StartOptions {
  /** Use the server named by `DATABASE_URL` or `REDIS_URL` if it is set. `false`: always start one. Default `true`. */
  external?: boolean | undefined;
  /** How long until the server answers, also at `restart()`, in milliseconds. Default 60,000. */
  startTimeoutMs?: number | undefined;
}

/** The options, complete; throws if one is wrong. */
export function startOptions({ external = true, startTimeoutMs = 60_000 }: StartOptions): {
  external: boolean;
  startTimeoutMs: number;
} {
  if (typeof external !== 'boolean') throw new TypeError(complaint('external', 'a boolean', external));
  if (!(startTimeoutMs >= 1 && startTimeoutMs <= MAX_TIMER_MS)) {
    throw new RangeError(complaint('startTimeoutMs', `a number from 1 to ${MAX_TIMER_MS}`, startTimeoutMs));
  }
  return { external, startTimeoutMs };
}

const MAX_TIMER_MS = 2 ** 31 - 1;

/** The text of an error about a wrong option. */
export function complaint(option: string, expected: string, got: unknown): string {
  return `@x/local-services: ${option} must be ${expected}, got ${inspect(got)}`;
}
