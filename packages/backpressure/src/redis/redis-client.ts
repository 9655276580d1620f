/** What this package needs of a client: `Redis` and `Cluster` of ioredis 5 and 6 have it. */
export interface RedisClient {
  readonly status: string;
  call(command: string, ...args: (string | number)[]): Promise<unknown>;
}
