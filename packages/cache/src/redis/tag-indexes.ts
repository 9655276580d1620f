import type { RedisCommands } from './redis-commands.ts';
import { TAG } from './scripts.ts';

export interface TagIndexesOptions {
  commands: RedisCommands;
  prefix: string;
  tagPrefix: string;
  /** Called before the first index is written. */
  onFirstUse: () => void;
}

/** What a script that notes a key in the indexes of its tags is given first. */
export interface IndexArguments {
  /** The key's name and those of its tags' indexes. */
  keys: string[];
  args: (string | number)[];
}

const LONGEST_PX = 100 * 365 * 86_400_000;

/** The indexes in Redis by which the keys of a tag are found. */
export class TagIndexes {
  readonly #options: TagIndexesOptions;
  #used = false;

  constructor(options: TagIndexesOptions) {
    this.#options = options;
  }

  argumentsOf(key: string, tags: readonly string[], keepMs: number): IndexArguments {
    const { prefix, tagPrefix } = this.#options;
    if (tags.length > 0 && !this.#used) {
      this.#used = true;
      this.#options.onFirstUse();
    }
    return {
      keys: [prefix + key, ...tags.map((tag) => tagPrefix + tag)],
      args: [key, expiry(keepMs) ?? 0],
    };
  }

  /** The same; on a cluster the indexes are written first, and left out after. Undefined if one could not be. */
  async noted(key: string, tags: readonly string[], keepMs: number): Promise<IndexArguments | undefined> {
    const { commands } = this.#options;
    const { keys, args } = this.argumentsOf(key, tags, keepMs);
    if (tags.length === 0 || !commands.isCluster) return { keys, args };
    const [name, ...indexes] = keys;
    const noted = await Promise.all(indexes.map((index) => commands.run(TAG, [index], ...args)));
    return noted.every((answer) => Number(answer) === 1) ? { keys: [name as string], args } : undefined;
  }
}

/** What PX takes; undefined for ever. */
function expiry(ms: number): number | undefined {
  return ms === Number.POSITIVE_INFINITY ? undefined : Math.min(Math.max(1, Math.ceil(ms)), LONGEST_PX);
}
