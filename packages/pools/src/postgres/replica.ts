import type { Clock } from '../clock.ts';
import { endsConnection, sqlStateOf } from './connect-error.ts';
import type { PostgresPool } from './postgres-pool.ts';
import type { ReadFrom } from './sql-runner.ts';

interface ReadOptions {
  from?: ReadFrom | undefined;
  timeoutMs?: number | undefined;
}

/** Sends reads to a replica, and to the primary while the replica is away. */
export class ReplicaReads {
  readonly #primary: PostgresPool;
  readonly #isAway: (replica: PostgresPool) => boolean;
  readonly #clock: Clock;

  /** `isAway`: whether the replica could not be reached when it was last tried. */
  constructor(primary: PostgresPool, isAway: (replica: PostgresPool) => boolean, clock: Clock) {
    this.#primary = primary;
    this.#isAway = isAway;
    this.#clock = clock;
  }

  /** The pool to read from. */
  choose(from: ReadFrom | undefined): PostgresPool {
    if (from !== undefined && from !== 'primary' && from !== 'replica') {
      throw new TypeError(`@x/pools: PostgresPool: from must be 'primary' or 'replica', got ${JSON.stringify(from)}`);
    }
    const { replica } = this.#primary;
    return from === 'replica' && replica !== undefined && !this.#isAway(replica) ? replica : this.#primary;
  }

  /** Reads, and once more from the primary when the replica turns out to be unavailable; in one time. */
  async run<T, O extends ReadOptions>(read: (pool: PostgresPool, options: O) => Promise<T>, options: O): Promise<T> {
    const { from, timeoutMs } = options;
    const pool = this.choose(from);
    const rest = { ...options, from: undefined };
    const since = timeoutMs === undefined ? 0 : this.#clock.now();
    try {
      return await read(pool, rest);
    } catch (error) {
      if (pool === this.#primary || !isUnavailable(error)) throw error;
    }
    if (timeoutMs !== undefined) rest.timeoutMs = Math.max(1, timeoutMs - (this.#clock.now() - since));
    return read(this.#primary, rest);
  }
}

/**
 * Whether a read failed because the replica is away, or because what it wanted to see was changed under it (conflict with
 * recovery, a serialization failure): then it may be had from the primary.
 */
function isUnavailable(error: unknown): boolean {
  const { code } = (error ?? {}) as { code?: unknown };
  return unavailable.has(code) || endsConnection(error) || sqlStateOf(error) === '40001';
}

const unavailable = new Set<unknown>([
  'ERR_UNREACHABLE',
  'ERR_CONNECT_TIMEOUT',
  'ERR_CONNECT_FAILED',
  'ERR_CONNECTION_LOST',
  'ERR_AUTHENTICATION',
  'ERR_NO_SUCH_DATABASE',
  'ERR_TOO_MANY_CONNECTIONS',
]);
