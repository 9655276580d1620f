import { AsyncLocalStorage } from 'node:async_hooks';
import { Client } from 'undici';
import type { Clock } from '../clock.ts';
import { PoolError } from '../errors.ts';
import { Connector } from './connector.ts';
import type { AddressRule, Egress } from './egress.ts';
import { type Connection, type Exchange, first, isBeingConnected, type Origin, type Waiting } from './origin.ts';
import type { ConnectionLimits } from './pool-options.ts';
import { Silence } from './silence.ts';

/**
 * Every connection of a pool, under one budget over all origins. undici bounds connections for each origin only, and
 * looks at a queued request's signal only when it leaves the queue; so the queue is kept here, and each Client of
 * undici is given no more than it can send at once.
 */
export class Connections {
  readonly #limits: ConnectionLimits;
  readonly #egress: Egress;
  readonly #clock: Clock;
  readonly #origins = new Map<string, Origin>();
  /** Connected and without work, the longest idle first. */
  readonly #idle = new Set<Connection>();
  readonly #waitingOrigins = new Set<Origin>();
  readonly #connector: Connector;
  // Sockets outlive the request that opened them: they belong to the pool's context, not to the first caller's.
  readonly #inOwnContext = AsyncLocalStorage.snapshot();
  #connections = 0;
  #queued = 0;
  #running = 0;
  /** Told of each exchange that is over. */
  onLeave: (() => void) | undefined;
  #order = 0;
  #closed = false;

  constructor(limits: ConnectionLimits, egress: Egress, clock: Clock, onConnectFailure: (hostname: string) => void) {
    this.#limits = limits;
    this.#egress = egress;
    this.#clock = clock;
    this.#connector = new Connector(limits, egress, onConnectFailure);
  }

  get size(): number {
    return this.#connections;
  }
  get idle(): number {
    return this.#idle.size;
  }
  get queued(): number {
    return this.#queued;
  }
  get running(): number {
    return this.#running;
  }

  /** Starts the exchange on a connection, now or when one is free. Returns a function that takes it out of the queue. */
  enter(url: URL, key: string, exchange: Exchange): (() => void) | undefined {
    if (this.#closed) throw new PoolError('ERR_POOL_CLOSED', 'HttpPool is closed');
    const origin = this.#origin(url, key, this.#egress.check(url, key));
    if (origin.waiting.size === 0 && this.#place(origin, exchange)) return undefined;
    if (origin.waiting.size >= originShare * (this.#limits.maxQueued - this.#queued)) {
      this.#forget(origin);
      throw new PoolError('ERR_OVERLOADED', `HttpPool: ${this.#queued} requests wait for a connection already`, {
        retryAfterMs: 1_000,
      });
    }
    const entry = { exchange, order: ++this.#order };
    origin.waiting.add(entry);
    this.#waitingOrigins.add(origin);
    this.#queued++;
    return () => {
      if (!origin.waiting.delete(entry)) return;
      this.#queued--;
      if (origin.waiting.size === 0) this.#waitingOrigins.delete(origin);
      this.#forget(origin);
    };
  }

  /** An exchange is over. After one that failed or was broken off, HTTP/1.1 has nothing to go on with. */
  leave(connection: Connection, failed: boolean): void {
    if (failed && !connection.multiplexed) this.#discard(connection);
    this.#running--;
    connection.running--;
    connection.served++;
    // Only when undici has told of the end of a response does it close a connection that is not to be kept (HTTP/1.0,
    // `connection: close`, after HEAD); what was put on it before would be lost.
    if (connection.multiplexed) {
      if (failed) connection.silence.failed(this.#clock.now());
      else connection.silence.answered(connection.running > 0, this.#clock.now());
      this.#settle(connection);
    } else queueMicrotask(() => this.#settle(connection));
  }

  #settle(connection: Connection): void {
    if (connection.running === 0) {
      if (connection.gone || this.#closed || connection.silence.tooLong) this.#discard(connection);
      else if (connection.connected) {
        if (connection.client.stats.connected) this.#rest(connection);
        else this.#discard(connection);
      }
    }
    this.#pump();
    this.onLeave?.();
  }

  /** The only exchange of a connection that is still being made was given up: the attempt need not hold its place. */
  abandon(connection: Connection, reason: Error): void {
    if (connection.connected || connection.running > 1 || connection.origin.waiting.size > 0) return;
    this.#discard(connection, reason);
  }

  /** Nothing new is taken, what waits is refused, idle connections are closed. Running exchanges go on. */
  close(): void {
    this.#closed = true;
    for (const origin of this.#waitingOrigins) {
      for (const { exchange } of origin.waiting) exchange.fail(new PoolError('ERR_POOL_CLOSED', 'HttpPool was closed'));
      origin.waiting.clear();
    }
    this.#waitingOrigins.clear();
    this.#queued = 0;
    for (const connection of [...this.#idle]) this.#discard(connection);
  }

  async destroy(reason: Error): Promise<void> {
    const clients = [...this.#origins.values()].flatMap((origin) => [...origin.connections]);
    for (const connection of clients) this.#discard(connection, reason);
    await Promise.allSettled(clients.map(({ client }) => client.destroy(reason)));
  }

  #origin(url: URL, key: string, rule: AddressRule | undefined): Origin {
    let origin = this.#origins.get(key);
    if (origin === undefined) {
      const protocol = this.#limits.http2 && url.protocol === 'https:' ? 'unknown' : 'single';
      origin = { key, rule, connections: new Set(), resting: [], waiting: new Set(), protocol };
      this.#origins.set(key, origin);
    }
    return origin;
  }

  #place(origin: Origin, exchange: Exchange): boolean {
    const connection =
      this.#free(origin, exchange) ?? (this.#mayOpen(origin, exchange) ? this.#open(origin) : undefined);
    if (connection === undefined) return false;
    if (connection.running === 0 && this.#idle.delete(connection)) origin.resting.pop();
    if (connection.multiplexed) connection.silence.asked(this.#clock.now());
    connection.running++;
    this.#running++;
    exchange.start(connection);
    return true;
  }

  #free(origin: Origin, exchange: Exchange): Connection | undefined {
    if (origin.protocol === 'multiplexed' && !exchange.exclusive) {
      for (const connection of origin.connections) {
        const { connected, running, silence } = connection;
        if (connected && running > 0 && running < maxStreams && !silence.tooLong) return connection;
      }
    }
    return origin.resting.at(-1);
  }

  #mayOpen(origin: Origin, exchange: Exchange): boolean {
    // Until it is known whether one connection will carry everything, no second one is opened.
    if (origin.protocol === 'unknown' && origin.connections.size > 0) return false;
    // The one that is being made will carry many.
    if (origin.protocol === 'multiplexed' && !exchange.exclusive && isBeingConnected(origin)) return false;
    const { maxConnections, maxConnectionsPerOrigin } = this.#limits;
    const free = maxConnections - this.#connections + this.#idle.size;
    if (free <= 0) return false;
    if (maxConnectionsPerOrigin !== undefined) return origin.connections.size < maxConnectionsPerOrigin;
    if (origin.connections.size === 0) return true;
    return free > maxConnections * newcomersShare && origin.connections.size < originShare * free;
  }

  #open(origin: Origin): Connection {
    if (this.#connections >= this.#limits.maxConnections) {
      for (const longestIdle of this.#idle) {
        this.#discard(longestIdle);
        break;
      }
    }
    this.#connections++;
    const connect = this.#connector.for(origin.key, origin.rule, (multiplexed) => {
      connection.multiplexed = multiplexed;
    });
    const client = this.#inOwnContext(
      () =>
        new Client(origin.key, {
          connect,
          allowH2: this.#limits.http2,
          keepAliveTimeout: this.#limits.keepAliveMs,
          keepAliveMaxTimeout: this.#limits.keepAliveMs,
          headersTimeout: this.#limits.headersTimeoutMs,
          bodyTimeout: this.#limits.bodyTimeoutMs,
        }),
    );
    const connection: Connection = {
      origin,
      client,
      running: 0,
      served: 0,
      connected: false,
      multiplexed: false,
      silence: new Silence(),
      gone: false,
    };
    origin.connections.add(connection);
    client.on('connect', () => {
      connection.connected = true;
      // Without a word undici sends one request at a time over HTTP/2 too.
      if (connection.multiplexed) {
        client.pipelining = maxStreams;
        connection.silence.asked(this.#clock.now());
      }
      origin.protocol = connection.multiplexed ? 'multiplexed' : 'single';
      // What it was made for may have been given up, and have told so already as undici was let send more.
      if (connection.running === 0 && !connection.gone && !this.#idle.has(connection)) this.#rest(connection);
      this.#pump();
    });
    client.on('disconnect', (_origin, _targets, error) => {
      // undici would put requests that were under way on a new connection; what may be repeated is decided elsewhere.
      this.#discard(connection, error);
      this.#pump();
    });
    client.on('connectionError', (_origin, _targets, error) => {
      this.#discard(connection, error);
      // Those who wait for it need not fail one after the other.
      if (![...origin.connections].some(({ connected }) => connected)) origin.protocol = 'single';
      this.#pump();
    });
    return connection;
  }

  #rest(connection: Connection): void {
    this.#idle.add(connection);
    connection.origin.resting.push(connection);
    if (this.#idle.size <= this.#limits.maxKeepAliveConnections) return;
    // Somebody of this origin may be about to take it.
    if (connection.origin.waiting.size > 0) return;
    for (const longestIdle of this.#idle) {
      this.#discard(longestIdle);
      break;
    }
  }

  #discard(connection: Connection, reason?: Error): void {
    connection.connected = false;
    if (this.#idle.delete(connection)) {
      connection.origin.resting.splice(connection.origin.resting.indexOf(connection), 1);
    }
    if (!connection.gone) {
      connection.gone = true;
      this.#connections--;
      connection.origin.connections.delete(connection);
      this.#forget(connection.origin);
      connection.client.destroy(reason ?? null).catch(() => {});
    }
  }

  /** An origin without connections and requests is not remembered, or hosts named by strangers would pile up. */
  #forget(origin: Origin): void {
    if (origin.connections.size === 0 && origin.waiting.size === 0) this.#origins.delete(origin.key);
  }

  /** Gives what is free to those who wait: the one who came first among those that can be served. */
  #pump(): void {
    while (this.#waitingOrigins.size > 0) {
      const next = this.#nextWaiting();
      if (next === undefined) return;
      const { origin, entry } = next;
      origin.waiting.delete(entry);
      this.#queued--;
      if (origin.waiting.size === 0) this.#waitingOrigins.delete(origin);
      this.#place(origin, entry.exchange);
    }
  }

  #nextWaiting(): { origin: Origin; entry: Waiting } | undefined {
    let next: { origin: Origin; entry: Waiting } | undefined;
    for (const origin of this.#waitingOrigins) {
      const entry = first(origin.waiting);
      if (next !== undefined && next.entry.order < entry.order) continue;
      if (this.#free(origin, entry.exchange) !== undefined || this.#mayOpen(origin, entry.exchange))
        next = { origin, entry };
    }
    return next;
  }
}

/** What undici assumes of a server until it has said how many streams it takes. */
const maxStreams = 100;

/**
 * Without a limit for each origin, one may hold at most so many times what is left for others: a black-holed origin
 * leaves room for the rest. Dynamic threshold of Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998.
 */
const originShare = 16;

/** And the last of them are for origins that have none yet, so that several black holes leave room as well. */
const newcomersShare = 1 / 20;
