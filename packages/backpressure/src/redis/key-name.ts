import { createHash } from 'node:crypto';

/**
 * The name in Redis of a caller's key, at most 70 characters after the prefix whatever the caller sends. Short plain names stay
 * readable; the others are hashed, over their UTF-16 units, since lone surrogates would all become one character on the wire.
 */
export function keyName(prefix: string, key: string): string {
  if (plain.test(key)) return `${prefix}k:${key}`;
  return `${prefix}h:${createHash('sha256').update(Buffer.from(key, 'utf16le')).digest('base64url')}`;
}

/** No braces: a cluster places keys by what stands in them, and one caller must not choose where. */
const plain = /^[\w.@:/-]{1,64}$/;
