import type { Clock } from '../clock.ts';
import type { RedisClient } from './redis-client.ts';
import { runScript, type Verb } from './scripts.ts';

export interface RedisLinkOptions {
  client: RedisClient;
  key: string;
  commandTimeoutMs: number;
  clock: Clock;
}

/**
 * The way to Redis, and whether it can be relied on now. After a command that failed, or was not answered in time, only
 * `sync` goes out, one at a time, until one is answered: however long Redis hangs, no more than that waits for it.
 */
export class RedisLink {
  commands = 0;
  failures = 0;
  readonly #options: RedisLinkOptions;
  #syncing = false;
  #answers = false;
  #closed = false;

  constructor(options: RedisLinkOptions) {
    this.#options = options;
  }

  get usable(): boolean {
    return this.#answers && !this.#closed;
  }

  /** From now on nothing goes out but `release`, and no answer makes this usable again. */
  close(): void {
    this.#closed = true;
  }

  /** What Redis holds of all circuits; `undefined` when it does not say in time. */
  async sync(): Promise<unknown> {
    const { status } = this.#options.client;
    if (status !== 'ready') this.#answers = false;
    // A client that connects for the first time keeps it until it can send it: the sooner this process knows.
    const sends = status === 'ready' || status === 'connecting' || status === 'connect' || status === 'wait';
    return sends && !this.#syncing ? this.#ask('sync', []) : undefined;
  }

  /** One circuit's business; `undefined` when Redis is not there for it, or does not answer in time. */
  async send(verb: Verb, args: (string | number)[]): Promise<unknown> {
    if (this.#options.client.status !== 'ready') this.#answers = false;
    const sends = verb === 'release' ? this.#answers : this.usable;
    return sends ? this.#ask(verb, args) : undefined;
  }

  #ask(verb: Verb, args: (string | number)[]): Promise<unknown> {
    const { client, key, clock, commandTimeoutMs } = this.#options;
    this.commands += 1;
    if (verb === 'sync') this.#syncing = true;
    return new Promise((resolve) => {
      let late = false;
      const timer = clock.setTimeout(() => {
        late = true;
        this.#failed();
        resolve(undefined);
      }, commandTimeoutMs);
      (timer as { unref?: () => void }).unref?.();
      const ended = () => {
        clock.clearTimeout(timer);
        if (verb === 'sync') this.#syncing = false;
      };
      runScript(client, key, verb, ...args).then(
        (answer) => {
          ended();
          // What has been on its way for so long may not be so any more; the next sync says.
          if (late) return;
          if (verb === 'sync') this.#answers = Array.isArray(answer);
          resolve(answer);
        },
        () => {
          ended();
          if (!late) this.#failed();
          resolve(undefined);
        },
      );
    });
  }

  /** Something answers, but not as the scripts do. */
  distrust(): void {
    this.#failed();
  }

  #failed(): void {
    this.#answers = false;
    this.failures += 1;
  }
}
