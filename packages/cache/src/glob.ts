/**
 * A pattern over keys: `*` stands for any run of characters, `\*` for a star, everything else for itself. Only what memory and
 * Redis can agree on is offered: Redis' `?` stands for a byte, and its classes for bytes too.
 */
export class KeyPattern {
  readonly #pieces: readonly string[];

  constructor(pattern: string) {
    if (typeof pattern !== 'string' || pattern === '') {
      throw new TypeError(`@x/cache: pattern must be a string that is not empty, got ${JSON.stringify(pattern)}`);
    }
    this.#pieces = pieces(pattern);
  }

  matches(key: string): boolean {
    const pieces = this.#pieces;
    const head = pieces[0] as string;
    if (pieces.length === 1) return key === head;
    const tail = pieces[pieces.length - 1] as string;
    if (key.length < head.length + tail.length || !key.startsWith(head) || !key.endsWith(tail)) return false;
    // The leftmost place of each middle piece leaves the most room for those behind it, so no backtracking is needed.
    let from = head.length;
    const end = key.length - tail.length;
    for (let index = 1; index < pieces.length - 1; index++) {
      const piece = pieces[index] as string;
      const at = key.indexOf(piece, from);
      if (at === -1 || at + piece.length > end) return false;
      from = at + piece.length;
    }
    return true;
  }

  /** The same pattern as Redis' SCAN MATCH understands it, behind a literal prefix. */
  toRedis(prefix: string): string {
    return escapeRedis(prefix) + this.#pieces.map(escapeRedis).join('*');
  }
}

/** `text` as a pattern that matches it alone. */
export function escapePattern(text: string): string {
  return text.replace(/[\\*]/g, '\\$&');
}

function pieces(pattern: string): string[] {
  const found: string[] = [];
  let piece = '';
  for (let index = 0; index < pattern.length; index++) {
    const character = pattern[index] as string;
    if (character === '*') {
      found.push(piece);
      piece = '';
    } else piece += character === '\\' && index + 1 < pattern.length ? pattern[++index] : character;
  }
  return [...found, piece];
}

function escapeRedis(text: string): string {
  return text.replace(/[\\*?[\]^-]/g, '\\$&');
}
