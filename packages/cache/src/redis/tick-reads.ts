import { settle } from './redis-circuit.ts';
import type { RedisCommands } from './redis-commands.ts';

/** Keys that one MGET takes: a longer one would keep the server from others. */
const MOST_KEYS = 64;

interface Read {
  name: string;
  settle: (bytes: unknown) => void;
  reject: (error: unknown) => void;
}

/**
 * Reads of single keys. One that finds no command under way is sent at once; others wait for the end of their tick and go together
 * in one MGET, since a write to the socket for each costs more than all the rest of a hit.
 */
export class TickReads {
  readonly #commands: RedisCommands;
  #later: Read[] = [];

  constructor(commands: RedisCommands) {
    this.#commands = commands;
  }

  /** What `read` makes of the bytes: null or undefined for nothing, or for what is no string. */
  get<T>(name: string, read: (bytes: unknown) => T | Promise<T>): Promise<T> {
    // On a cluster the keys of one MGET would have to share a slot.
    if (this.#commands.idle || this.#commands.isCluster) return this.#commands.get(name, read);
    return new Promise((resolve, reject) => {
      if (this.#later.length === 0) process.nextTick(this.#sendAll);
      this.#later.push({ name, settle: (bytes) => settle(bytes, read, resolve, reject), reject });
    });
  }

  readonly #sendAll = (): void => {
    const reads = this.#later;
    this.#later = [];
    for (let from = 0; from < reads.length; from += MOST_KEYS) this.#send(reads.slice(from, from + MOST_KEYS));
  };

  #send(reads: readonly Read[]): void {
    const [first] = reads;
    if (first !== undefined && reads.length === 1) {
      this.#commands.get(first.name, first.settle).catch(first.reject);
      return;
    }
    this.#commands.callBuffer('MGET', ...reads.map((read) => read.name)).then(
      (answers) => {
        for (const [index, { settle }] of reads.entries()) settle((answers as unknown[] | undefined)?.[index]);
      },
      (error: unknown) => {
        for (const { reject } of reads) reject(error);
      },
    );
  }
}
