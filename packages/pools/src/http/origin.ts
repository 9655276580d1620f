import type { Client } from 'undici';
import type { AddressRule } from './egress.ts';
import type { Silence } from './silence.ts';

/** One request that needs a connection. */
export interface Exchange {
  /** Whether it must be alone on its connection: a request that is not idempotent, or has a body that cannot be sent again. */
  readonly exclusive: boolean;
  start(connection: Connection): void;
  fail(error: Error): void;
}

/** One undici Client, which is one connection: over HTTP/1.1 for one request at a time, over HTTP/2 for many. */
export interface Connection {
  readonly origin: Origin;
  readonly client: Client;
  running: number;
  /** How many requests it has served before. */
  served: number;
  connected: boolean;
  multiplexed: boolean;
  /** Of one that is multiplexed. */
  readonly silence: Silence;
  gone: boolean;
}

/** A request in the queue, and its place among those of all origins. */
export interface Waiting {
  readonly exchange: Exchange;
  readonly order: number;
}

/** A server (scheme, host, port), its connections, and the requests that wait for one. */
export interface Origin {
  readonly key: string;
  /** What holds for its address, if anything does. */
  readonly rule: AddressRule | undefined;
  readonly connections: Set<Connection>;
  /** Connected and without work; the last one used is taken first: it is the least likely to be closed by the server meanwhile. */
  readonly resting: Connection[];
  readonly waiting: Set<Waiting>;
  /** Not known until the first TLS handshake has said which protocol the server chose. */
  protocol: 'unknown' | 'single' | 'multiplexed';
}

/** Whether a connection is on its way. */
export function isBeingConnected({ connections }: Origin): boolean {
  for (const { connected } of connections) if (!connected) return true;
  return false;
}

export function first<T>(items: Set<T>): T {
  for (const item of items) return item;
  throw new Error('an origin that waits for nothing was asked for its first request');
}
