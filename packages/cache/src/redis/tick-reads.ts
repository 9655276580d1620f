import type { RedisCommands } from './redis-commands.ts';

/** Keys that one MGET takes: a longer one would keep the server from others. */
const MOST_KEYS = 64;

interface Read {
  name: string;
  resolve: (bytes: unknown) => void;
  reject: (error: unknown) => void;
}

/**
 * Reads of single keys. The first of a tick is sent at once; those that follow in the same tick go together in one MGET at its end,
 * since a write to the socket for each costs more than all the rest of a hit.
 */
export class TickReads {
  readonly #commands: RedisCommands;
  #later: Read[] = [];
  #inTick = false;

  constructor(commands: RedisCommands) {
    this.#commands = commands;
  }

  /** The bytes; null or undefined for nothing, or for what is no string. */
  get(name: string): Promise<unknown> {
    // On a cluster the keys of one MGET would have to share a slot.
    if (this.#commands.isCluster) return this.#commands.callBuffer('GET', name);
    if (this.#inTick) return new Promise((resolve, reject) => this.#later.push({ name, resolve, reject }));
    const answer = this.#commands.callBuffer('GET', name);
    this.#inTick = true;
    process.nextTick(this.#endTick);
    return answer;
  }

  readonly #endTick = (): void => {
    this.#inTick = false;
    if (this.#later.length === 0) return;
    const reads = this.#later;
    this.#later = [];
    for (let from = 0; from < reads.length; from += MOST_KEYS) this.#send(reads.slice(from, from + MOST_KEYS));
  };

  #send(reads: readonly Read[]): void {
    this.#commands.callBuffer('MGET', ...reads.map((read) => read.name)).then(
      (answers) => {
        for (const [index, { resolve }] of reads.entries()) resolve((answers as unknown[] | undefined)?.[index]);
      },
      (error: unknown) => {
        for (const { reject } of reads) reject(error);
      },
    );
  }
}
