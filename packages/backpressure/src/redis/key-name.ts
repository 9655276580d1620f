import { createHmac } from 'node:crypto';

/**
 * The name in Redis of a caller's key: 22 characters after the prefix whatever the caller sends, and not a word of who it is.
 * Over UTF-16 units, since lone surrogates would all become one character on the wire; 132 bits, so that no two meet.
 */
export function keyName(prefix: string, key: string, secret: string): string {
  return prefix + createHmac('sha256', secret).update(key, 'utf16le').digest('base64url').slice(0, 22);
}
