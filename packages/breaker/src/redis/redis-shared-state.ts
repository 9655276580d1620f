import { type Clock, systemClock } from '../clock.ts';
import { checkDuration, checkMethods, checkOptionalString, wrongOption } from '../option-checks.ts';
import type { SharedCircuit, SharedMember, SharedState } from '../shared-state.ts';
import { parseRecords } from './circuit-record.ts';
import { RedisCircuit } from './redis-circuit.ts';
import type { RedisClient } from './redis-client.ts';
import { RedisLink } from './redis-link.ts';

export interface RedisSharedStateOptions {
  /** A `Redis` or `Cluster` of ioredis 5 or 6. It stays its owner's: it is neither configured, listened to, nor closed here. */
  client: RedisClient;
  /** The one key in which the circuits are kept, a hash. Processes with the same key and Redis share. Default `'breaker:circuits'`. */
  key?: string | undefined;
  /** How often this process asks what others have seen, with one command for all its breakers. Milliseconds, default 250; keep it below 1,000. */
  syncMs?: number | undefined;
  /** A command that takes longer has failed; breakers then act on their own until Redis answers again. Milliseconds, default 500. */
  commandTimeoutMs?: number | undefined;
  /** Default: the process's own clock. */
  clock?: Clock | undefined;
}

export interface RedisSharedStateStats {
  /** Whether Redis answers. While it does not, each process is on its own. */
  available: boolean;
  /** Breakers that have joined and are still in use. */
  circuits: number;
  commands: number;
  failures: number;
}

/** Names are fields in Redis; so long is a host, a tenant and more. */
const LONGEST_NAME = 256;

/**
 * Breakers of the same name, in all processes that share a Redis, act as one circuit: what opens or closes one is known
 * to the others within `syncMs` and a round trip, and of an open circuit only the process that holds the lease sends probes.
 *
 * No call waits for Redis. When it is down, hangs, or has been flushed, each breaker goes on with what it knows, and
 * tells the others when Redis is back. Forced states are not shared; a `reset()` is.
 */
export class RedisSharedState implements SharedState, AsyncDisposable {
  readonly #link: RedisLink;
  readonly #clock: Clock;
  readonly #syncMs: number;
  /** Weak, so that a breaker that a registry forgets can go. */
  readonly #circuits = new Set<WeakRef<RedisCircuit>>();
  #timer: unknown;
  #closed = false;

  constructor(options: RedisSharedStateOptions) {
    const { client, key = 'breaker:circuits', syncMs = 250, commandTimeoutMs = 500, clock = systemClock } = options;
    checkMethods('client', client, ['call']);
    checkOptionalString('key', key);
    checkDuration('syncMs', syncMs);
    checkDuration('commandTimeoutMs', commandTimeoutMs);
    checkMethods('clock', clock, ['now', 'setTimeout', 'clearTimeout']);
    this.#link = new RedisLink({ client, key, commandTimeoutMs, clock });
    this.#clock = clock;
    this.#syncMs = syncMs;
  }

  /** Called by a breaker that is given this as `shared`. */
  join(member: SharedMember): SharedCircuit {
    if (member.name === '' || member.name.length > LONGEST_NAME) {
      throw wrongOption('name', `of 1 to ${LONGEST_NAME} characters to be shared`, member.name);
    }
    const circuit = new RedisCircuit(member, this.#link, this.#clock);
    this.#circuits.add(new WeakRef(circuit));
    // What others know by now is of use from the first call on.
    if (!this.#closed) void this.#sync();
    return circuit;
  }

  stats(): RedisSharedStateStats {
    const { usable: available, commands, failures } = this.#link;
    return { available, circuits: this.#live().length, commands, failures };
  }

  /**
   * Stops asking and hands leases back, before the client is closed; one that is being asked for is waited for, at most
   * `commandTimeoutMs`. The breakers go on at once, each process on its own.
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#clock.clearTimeout(this.#timer);
    this.#link.close();
    await Promise.all(this.#live().map((circuit) => circuit.release()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #sync(): Promise<void> {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = this.#clock.setTimeout(() => void this.#sync(), this.#syncMs);
    (this.#timer as { unref?: () => void }).unref?.();
    const asked = this.#live().map((circuit) => [circuit, circuit.turn] as const);
    if (asked.length === 0) {
      this.#clock.clearTimeout(this.#timer);
      return;
    }
    const answer = await this.#link.sync();
    if (this.#closed || !Array.isArray(answer)) return;
    const records = parseRecords(answer);
    for (const [circuit, turn] of asked) circuit.synced(records.get(circuit.name), turn);
  }

  #live(): RedisCircuit[] {
    const live: RedisCircuit[] = [];
    for (const reference of this.#circuits) {
      const circuit = reference.deref();
      if (circuit === undefined) this.#circuits.delete(reference);
      else live.push(circuit);
    }
    return live;
  }
}
