import { Redis } from 'ioredis';
import type { Fleet } from './fleet.ts';

/** Somebody who knows nothing of the library and changes its keys as with redis-cli. */
export class OutsideWriter implements AsyncDisposable {
  writes = 0;
  readonly #fleet: Fleet;
  readonly #redis: Redis;
  readonly #ended: Promise<void>;
  #stopped = false;

  constructor(fleet: Fleet, keys: number, pick: (below: number) => number) {
    this.#fleet = fleet;
    this.#redis = new Redis(fleet.redis.url, { retryStrategy: () => 50, maxRetriesPerRequest: null });
    this.#redis.on('error', () => {});
    this.#ended = this.#write(keys, pick);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#ended;
    this.#redis.disconnect();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #write(keys: number, pick: (below: number) => number): Promise<void> {
    while (!this.#stopped) {
      const key = `key ${pick(keys)}`;
      const version = await this.#fleet.truth.incr(`truth:${key}`);
      const name = `fleet:${key}`;
      const ways = [
        () => this.#redis.del(name),
        () => this.#redis.unlink(name),
        () => this.#redis.set(name, 'nothing that a cache wrote', 'PX', 1_000),
        () => this.#expire(name),
      ];
      const calledAt = Date.now();
      await ways[pick(ways.length)]?.();
      // What expires is told of when Redis comes by.
      await new Promise((resolve) => setTimeout(resolve, 5 + pick(200)));
      const at = Date.now();
      this.#fleet.onInvalidated({ key, version, calledAt, returnedAt: at, at });
      this.writes++;
    }
  }

  /** What a load stores before the key is over lives on, as after any SET: it is made to expire until it has. */
  async #expire(name: string): Promise<void> {
    for (let n = 0; n < 10; n++) {
      await this.#redis.pexpire(name, 1);
      await new Promise((resolve) => setTimeout(resolve, 3));
      if ((await this.#redis.pttl(name)) < 0) return;
    }
    await this.#redis.del(name);
  }
}
