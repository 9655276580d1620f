import { KeyPattern } from '../glob.ts';
import type { RedisCircuit } from './redis-circuit.ts';
import type { Argument, RedisClient, RedisNode } from './redis-client.ts';
import type { Script } from './scripts.ts';

export interface RedisCommandsOptions {
  client: RedisClient;
  circuit: RedisCircuit;
  prefix: string;
  tagPrefix: string;
  scanCount: number;
}

/** Commands under the circuit, to one server or to a cluster, where each key may lie on another node. */
export class RedisCommands {
  readonly isCluster: boolean;
  readonly #options: RedisCommandsOptions;

  readonly #get: (name: string) => Promise<unknown>;

  constructor(options: RedisCommandsOptions) {
    this.#options = options;
    const { client } = options;
    this.isCluster = client.nodes !== undefined;
    this.#get = client.getBuffer?.bind(client) ?? ((name) => client.callBuffer('GET', name));
  }

  /** Whether no command waits for its answer. */
  get idle(): boolean {
    return this.#options.circuit.idle;
  }

  call(command: string, ...args: Argument[]): Promise<unknown> {
    return this.#options.circuit.guard(() => this.#options.client.call(command, ...args));
  }

  callBuffer(command: string, ...args: Argument[]): Promise<unknown> {
    return this.#options.circuit.guard(() => this.#options.client.callBuffer(command, ...args));
  }

  /** What `read` makes of a key's bytes: null or undefined for nothing, or for what is no string. */
  get<T>(name: string, read: (bytes: unknown) => T | Promise<T>): Promise<T> {
    return this.#options.circuit.read(() => this.#get(name), read);
  }

  run(script: Script, keys: readonly string[], ...args: Argument[]): Promise<unknown> {
    return this.#options.circuit.guard(() => script.run(this.#options.client, keys, ...args));
  }

  /** For what the commands sent next must not overtake. */
  runInOrder(script: Script, keys: readonly string[], ...args: Argument[]): Promise<unknown> {
    return this.#options.circuit.guard(() => script.runInOrder(this.#options.client, keys, ...args));
  }

  /** The tag's index stays: a key in it that has lost the tag is deleted for nothing, one left out would be missed. */
  async unlinkTagged(tag: string): Promise<void> {
    const keys = ((await this.call('ZRANGE', this.#options.tagPrefix + tag, 0, -1)) ?? []) as string[];
    await this.unlink(keys.map((key) => this.#options.prefix + key));
  }

  async unlinkMatching(pattern: string): Promise<number> {
    const keyPrefix = this.#options.client.options?.keyPrefix ?? '';
    const match = new KeyPattern(pattern).toRedis(keyPrefix + this.#options.prefix);
    const nodes: readonly RedisNode[] = this.#options.client.nodes?.('master') ?? [this.#options.client];
    let deleted = 0;
    for (const node of nodes) {
      let cursor = '0';
      do {
        const page = await this.#options.circuit.guard(() =>
          node.call('SCAN', cursor, 'MATCH', match, 'COUNT', this.#options.scanCount),
        );
        const [next, keys] = page as [string, string[]];
        // SCAN speaks of names as they are stored, every other command of names before keyPrefix.
        deleted += await this.unlink(keys.map((key) => key.slice(keyPrefix.length)));
        cursor = next;
      } while (cursor !== '0');
    }
    return deleted;
  }

  async unlink(names: readonly string[]): Promise<number> {
    if (!this.isCluster) {
      const commands: Promise<unknown>[] = [];
      for (let from = 0; from < names.length; from += this.#options.scanCount) {
        commands.push(this.call('UNLINK', ...names.slice(from, from + this.#options.scanCount)));
      }
      return sum(await Promise.all(commands));
    }
    let deleted = 0;
    for (let from = 0; from < names.length; from += this.#options.scanCount) {
      const part = names.slice(from, from + this.#options.scanCount);
      deleted += sum(await Promise.all(part.map((name) => this.call('UNLINK', name))));
    }
    return deleted;
  }

  /** Publishes; an error that `forgiven` does not throw again is none. */
  publish(channel: string, message: string, forgiven: (error: unknown) => void): Promise<unknown> {
    return this.#options.circuit.guard(() => this.#options.client.call('PUBLISH', channel, message).catch(forgiven));
  }
}

function sum(answers: readonly unknown[]): number {
  return answers.reduce<number>((total, answer) => total + Number(answer), 0);
}
