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
      const ways = [
        () => this.#redis.del(`fleet:${key}`),
        () => this.#redis.unlink(`fleet:${key}`),
        () => this.#redis.set(`fleet:${key}`, 'nothing that a cache wrote', 'PX', 1_000),
        () => this.#redis.pexpire(`fleet:${key}`, 1),
      ];
      await ways[pick(ways.length)]?.();
      // What expires is told of when Redis comes by.
      await new Promise((resolve) => setTimeout(resolve, 5 + pick(200)));
      this.#fleet.onInvalidated(key, version, Date.now());
      this.writes++;
    }
  }
}
