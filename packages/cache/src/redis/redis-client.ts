/** What this package needs of a client: `Redis` and `Cluster` of ioredis 5 and 6 have it. */
export interface RedisClient {
  readonly status: string;
  readonly options?: { readonly keyPrefix?: string | undefined } | undefined;
  call(command: string, ...args: (string | number)[]): Promise<unknown>;
  /** A cluster's nodes. */
  nodes?(role: 'master'): RedisNode[];
}

/** One node of a cluster. */
export interface RedisNode {
  call(command: string, ...args: (string | number)[]): Promise<unknown>;
}
