import { createHmac, randomBytes } from 'node:crypto';
import type { CacheSettings } from './cache-options.ts';
import { stableKey } from './key.ts';

const REMEMBERED_SCOPES = 10_000;
/** Longer ones are worked out anew each time: names that callers choose must not fill memory. */
const LONGEST_REMEMBERED = 1_024;
/** 132 bits. */
const HOLDER_LENGTH = 22;

/** Makes the prefixes of scopes: an HMAC of the parts, so that prefixes neither meet nor tell who they stand for. */
export class ScopeNames {
  readonly #secret: string | Buffer | undefined;
  readonly #known = new Map<string, string>();

  constructor(settings: Pick<CacheSettings, 'remote' | 'scopeSecret'>) {
    // Nobody outside this process needs to find the entries when there is no remote tier.
    this.#secret = settings.scopeSecret ?? (settings.remote === undefined ? randomBytes(32) : undefined);
  }

  prefix(parts: readonly (string | number)[]): string {
    if (this.#secret === undefined) {
      throw new TypeError(
        '@x/cache: scope() over a remote tier needs the option scopeSecret, the same in all processes',
      );
    }
    if (parts.length === 0 || parts.some((part) => part === '' || !['string', 'number'].includes(typeof part))) {
      throw new TypeError('@x/cache: scope() needs at least one part, each a number or a string that is not empty');
    }
    const text = stableKey(parts);
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const holder = this.#hmac(stableKey([parts[0]]));
    // A key within a scope begins after a colon, a scope within a scope after a slash: neither can pass for the other.
    const prefix =
      parts.length === 1 ? `scope:${holder}:` : `scope:${holder.slice(0, HOLDER_LENGTH)}/${this.#hmac(text)}:`;
    if (text.length > LONGEST_REMEMBERED) return prefix;
    if (this.#known.size >= REMEMBERED_SCOPES) this.#known.clear();
    this.#known.set(text, prefix);
    return prefix;
  }

  #hmac(text: string): string {
    return createHmac('sha256', this.#secret as string | Buffer)
      .update(text)
      .digest('base64url');
  }
}

/** Who holds an entry, by its key: one name for all scopes that begin with the same part. Undefined outside scopes. */
export function scopeHolder(key: string): string | undefined {
  return key.startsWith('scope:') ? key.slice('scope:'.length, 'scope:'.length + HOLDER_LENGTH) : undefined;
}
