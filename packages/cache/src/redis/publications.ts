import { newVersion } from './envelope.ts';
import { isRefusal } from './invalidation-link.ts';

/** What was invalidated. */
export type News = { keys: readonly string[] } | { tags: readonly string[] } | { pattern: string };

/** Heard from another process; undefined fields were not said. */
export interface Heard {
  keys?: readonly string[] | undefined;
  tags?: readonly string[] | undefined;
  pattern?: string | undefined;
}

/** What processes tell each other of what they do to the keys below a prefix. */
export class Publications {
  readonly channel: string;
  /** Told when the server does not let us publish. */
  onRefused: (error: unknown) => void = () => {};
  readonly #sender = newVersion();
  #refused = false;

  /** `prefix` as it is stored, the client's own included. */
  constructor(prefix: string) {
    this.channel = `invalidate|${prefix}`;
  }

  /** At most so many keys in one message. */
  messages(news: News, most: number): string[] {
    if (this.#refused) return [];
    const from = this.#sender;
    if (!('keys' in news)) return [JSON.stringify({ from, ...news })];
    const messages: string[] = [];
    for (let at = 0; at < news.keys.length; at += most) {
      messages.push(JSON.stringify({ from, keys: news.keys.slice(at, at + most) }));
    }
    return messages;
  }

  /** Takes it well that the server does not let us publish. */
  readonly forgive = (error: unknown): void => {
    if (!isRefusal(error)) throw error;
    this.#refused = true;
    this.onRefused(error);
  };

  /** Undefined for this process's own. A message that is not understood says nothing: it may mean anything. */
  read(text: string): Heard | undefined {
    try {
      const { from, keys, tags, pattern } = JSON.parse(text) as Record<string, unknown>;
      if (from === this.#sender) return undefined;
      return {
        keys: isTexts(keys) ? keys : undefined,
        tags: isTexts(tags) ? tags : undefined,
        pattern: typeof pattern === 'string' && pattern !== '' ? pattern : undefined,
      };
    } catch {
      return {};
    }
  }
}

function isTexts(list: unknown): list is readonly string[] {
  return Array.isArray(list) && list.every((item) => typeof item === 'string');
}
