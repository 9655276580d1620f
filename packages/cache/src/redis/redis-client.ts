export type Argument = string | number | Buffer;

/** What this package needs of a client: `Redis` and `Cluster` of ioredis 5 and 6 have it. */
export interface RedisClient {
  readonly status: string;
  readonly options?:
    | {
        readonly keyPrefix?: string | undefined;
        readonly scaleReads?: unknown;
        readonly enableAutoPipelining?: unknown;
        readonly host?: string | undefined;
        readonly port?: number | undefined;
      }
    | undefined;
  call(command: string, ...args: Argument[]): Promise<unknown>;
  /** The same, answered with bytes. */
  callBuffer(command: string, ...args: Argument[]): Promise<unknown>;
  /** `callBuffer('GET', key)`, for less where the client has it: it need not look at what command that is. */
  getBuffer?(key: string): Promise<unknown>;
  /** A cluster's nodes. */
  nodes?(role: 'master'): RedisNode[];
  /** Makes another connection to the same server: what others do is heard on it. */
  duplicate?(...args: never[]): unknown;
}

/** One node of a cluster. */
export interface RedisNode {
  readonly options?: { readonly host?: string | undefined; readonly port?: number | undefined } | undefined;
  call(command: string, ...args: (string | number)[]): Promise<unknown>;
  duplicate?(...args: never[]): unknown;
}

/** A connection of our own. */
export interface RedisConnection {
  readonly stream?: { unref?(): unknown } | undefined;
  connect(): Promise<unknown>;
  call(command: string, ...args: (string | number)[]): Promise<unknown>;
  on(event: string, listener: (...args: unknown[]) => void): unknown;
  disconnect(): void;
}

/** What makes another connection, or undefined where the client cannot. */
export function connector(client: RedisClient | RedisNode): (() => RedisConnection) | undefined {
  if (typeof client.duplicate !== 'function') return undefined;
  return () =>
    (client as { duplicate(options: object): RedisConnection }).duplicate({
      // Invalidations come as messages of RESP2; version 6 drops the push frames of RESP3 that it does not know.
      protocol: 2,
      lazyConnect: true,
      // What is set up on a connection ends with it, so that each is used once.
      retryStrategy: () => null,
      sentinelRetryStrategy: () => null,
      reconnectOnError: null,
      autoResubscribe: false,
      autoResendUnfulfilledCommands: false,
      enableAutoPipelining: false,
      maxRetriesPerRequest: null,
      commandTimeout: undefined,
    });
}
