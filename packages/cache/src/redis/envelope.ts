import { randomBytes } from 'node:crypto';
import type { RemoteEntry, RemoteWrite } from '../remote-tier.ts';

/**
 * What stands under a key in Redis, fields at fixed places so that a script can read and write them without the value:
 *
 *     0  format    'xc2V' a value, 'xc2L' a load under way and no value yet
 *     4  version   16 characters, new at each write, lease, and expiry
 *    20  lease     until when a load may replace it; 15 digits, milliseconds of the server's clock
 *    35  fresh     until when it is fresh; 15 digits, wall-clock milliseconds
 *    50  encoding  of what follows: 'j' JSON
 *    51  body      [storedAt, loadMs or null, tags, value]
 *
 * Another format is a miss, so that versions of this package can share a Redis.
 */
const VALUE = 'xc2V';
const NO_LEASE = '0'.repeat(15);
const FOREVER = 999_999_999_999_999;
const ENCODING_AT = 50;
const BODY_AT = 51;
const JSON_BODY = 'j';

export function encode(version: string, entry: RemoteWrite): string {
  const body = JSON.stringify([entry.storedAt, entry.loadMs ?? null, entry.tags, entry.value]);
  return VALUE + version + NO_LEASE + digits(entry.freshUntil) + JSON_BODY + body;
}

/** Whether it is meant to be a value of this format. */
export function isValue(text: unknown): text is string {
  return typeof text === 'string' && text.startsWith(VALUE);
}

/** The entry, or undefined for whatever else may stand there. */
export function decode(text: unknown): RemoteEntry | undefined {
  if (!isValue(text)) return undefined;
  const freshUntil = Number(text.slice(35, ENCODING_AT));
  if (!Number.isInteger(freshUntil) || text[ENCODING_AT] !== JSON_BODY) return undefined;
  try {
    const body: unknown = JSON.parse(text.slice(BODY_AT));
    if (!Array.isArray(body) || body.length !== 4) return undefined;
    const [storedAt, loadMs, tags, value] = body as unknown[];
    if (!Number.isFinite(storedAt) || !Array.isArray(tags) || !tags.every((tag) => typeof tag === 'string')) {
      return undefined;
    }
    return {
      value,
      storedAt: storedAt as number,
      freshUntil: freshUntil === FOREVER ? Number.POSITIVE_INFINITY : freshUntil,
      tags,
      loadMs: Number.isFinite(loadMs) && (loadMs as number) >= 0 ? (loadMs as number) : undefined,
      version: text.slice(4, 20),
    };
  } catch {
    return undefined;
  }
}

/** 96 bits: a name for one write, not for a key. */
export function newVersion(): string {
  return randomBytes(12).toString('base64url');
}

/** A time as it stands in the header: so that their text compares as they do. */
export function digits(ms: number): string {
  return String(Math.min(Math.max(0, Math.ceil(ms)), FOREVER)).padStart(15, '0');
}
