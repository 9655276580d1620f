import { createHmac } from 'node:crypto';
import { ownString } from '../own-string.ts';

/**
 * The name in Redis of a caller's key: 22 characters after the prefix whatever the caller sends, and not a word of who it is.
 * Over UTF-16 units, since lone surrogates would all become one character on the wire; 132 bits, so that no two meet.
 */
function keyName(prefix: string, key: string, secret: string): string {
  return prefix + createHmac('sha256', secret).update(key, 'utf16le').digest('base64url').slice(0, 22);
}

/** The names of the last keys, since an HMAC for each call would cost more than all else that a call needs here. */
export class KeyNames {
  readonly #prefix: string;
  readonly #secret: string;
  readonly #maxKept: number;
  readonly #names = new Map<string, string>();

  constructor(prefix: string, secret: string, maxKept: number) {
    this.#prefix = prefix;
    this.#secret = secret;
    this.#maxKept = maxKept;
  }

  nameOf(key: string): string {
    const kept = this.#names.get(key);
    if (kept !== undefined) return kept;
    const name = keyName(this.#prefix, key, this.#secret);
    // One that is very long, which a hostile caller may send by the thousand, is not worth its memory.
    if (key.length > longestKept) return name;
    if (this.#names.size >= this.#maxKept) this.#names.clear();
    this.#names.set(ownString(key), name);
    return name;
  }
}

const longestKept = 256;
