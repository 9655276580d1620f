import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { deflateRaw, inflateRaw } from 'node:zlib';
import type { RemoteEntry, RemoteWrite } from '../remote-tier.ts';
import type { ValueEncoding } from './value-encoding.ts';

/**
 * What stands under a key in Redis, fields at fixed places so that a script can read and write them without the value:
 *
 *     0  format       'xc2V' a value, 'xc2L' a load under way and no value yet
 *     4  version      16 characters, new at each write, lease, and expiry
 *    20  lease        until when a load may replace it; 15 digits, milliseconds of the server's clock
 *    35  fresh        until when it is fresh; 15 digits, wall-clock milliseconds
 *    50  encoding     of what follows: 'j' JSON, or that of a ValueEncoding
 *    51  compression  '-' none, 'd' raw DEFLATE (RFC 1951)
 *    52  body         [storedAt, loadMs or null, tags, value]
 *
 * Another format is a miss, so that versions of this package can share a Redis.
 */
const VALUE = 'xc2V';
const FOREVER = 999_999_999_999_999;
const FRESH_AT = 35;
const TIME_DIGITS = 15;
const NO_LEASE = '0'.repeat(TIME_DIGITS);
const ENCODING_AT = 50;
const COMPRESSION_AT = 51;
const BODY_AT = 52;
const JSON_ID = 'j';
const PLAIN = '-';
const DEFLATED = 'd';
const JSON_BYTE = JSON_ID.charCodeAt(0);
const PLAIN_BYTE = PLAIN.charCodeAt(0);
/** Most of the gain for the least time. */
const LEVEL = 1;

const deflate = promisify(deflateRaw);
const inflate = promisify(inflateRaw);

export interface EnvelopeOptions {
  encoding: ValueEncoding | undefined;
  /** Bodies over so many bytes are compressed. */
  compressOverBytes: number;
  /** A compressed body that would become larger is not read. */
  maxInflatedBytes: number;
}

/** Writes and reads what stands under a key. */
export class Envelopes {
  readonly #options: EnvelopeOptions;

  constructor(options: EnvelopeOptions) {
    this.#options = options;
  }

  encode(version: string, entry: RemoteWrite): string | Buffer | Promise<Buffer> {
    const { encoding, compressOverBytes } = this.#options;
    const fields = [entry.storedAt, entry.loadMs ?? null, entry.tags, entry.value];
    const encoded = encoding?.encode(fields);
    const head = VALUE + version + NO_LEASE + digits(entry.freshUntil) + (encoded ? encoding?.id : JSON_ID);
    if (encoded === undefined) {
      const text = JSON.stringify(fields);
      // A character is at most three bytes: short ones need not be counted.
      if (text.length * 3 <= compressOverBytes || Buffer.byteLength(text) <= compressOverBytes) {
        return head + PLAIN + text;
      }
      return deflated(head, Buffer.from(text));
    }
    return encoded.length <= compressOverBytes ? joined(head + PLAIN, encoded) : deflated(head, encoded);
  }

  /** The entry, or undefined for whatever else may stand there. */
  decode(bytes: unknown): RemoteEntry | undefined | Promise<RemoteEntry | undefined> {
    if (!Buffer.isBuffer(bytes)) return undefined;
    if (bytes[ENCODING_AT] === JSON_BYTE && bytes[COMPRESSION_AT] === PLAIN_BYTE) return plain(bytes);
    const head = bytes.toString('latin1', 0, BODY_AT);
    if (!head.startsWith(VALUE)) return undefined;
    const compression = head[COMPRESSION_AT];
    if (compression === PLAIN) return this.#read(head, bytes, BODY_AT);
    if (compression !== DEFLATED) return undefined;
    const { maxInflatedBytes: maxOutputLength } = this.#options;
    return inflate(bytes.subarray(BODY_AT), { maxOutputLength }).then(
      (body) => this.#read(head, body, 0),
      () => undefined,
    );
  }

  #read(head: string, bytes: Buffer, from: number): RemoteEntry | undefined {
    try {
      const id = head[ENCODING_AT] as string;
      // A decoder of somebody else's may give anything.
      return entryOf(head, this.#parse(id, bytes, from), id === JSON_ID ? bytes.length - from : undefined);
    } catch {
      return undefined;
    }
  }

  #parse(id: string, bytes: Buffer, from: number): unknown {
    if (id === JSON_ID) return JSON.parse(bytes.toString('utf8', from));
    const { encoding } = this.#options;
    return id === encoding?.id ? encoding.decode(bytes.subarray(from)) : undefined;
  }
}

/** JSON that is not compressed. */
function plain(bytes: Buffer): RemoteEntry | undefined {
  // Header and body in one string: each turn from bytes to text has its price.
  const text = bytes.toString('utf8');
  if (!text.startsWith(VALUE)) return undefined;
  try {
    return entryOf(text, JSON.parse(text.slice(BODY_AT)), bytes.length - BODY_AT);
  } catch {
    return undefined;
  }
}

function entryOf(head: string, body: unknown, textBytes: number | undefined): RemoteEntry | undefined {
  const freshUntil = timeAt(head, FRESH_AT);
  if (Number.isNaN(freshUntil) || !Array.isArray(body) || body.length !== 4) return undefined;
  const storedAt: unknown = body[0];
  const loadMs: unknown = body[1];
  const tags: unknown = body[2];
  if (!Number.isFinite(storedAt) || !Array.isArray(tags) || !tags.every(isText)) return undefined;
  return {
    value: body[3],
    storedAt: storedAt as number,
    freshUntil: freshUntil === FOREVER ? Number.POSITIVE_INFINITY : freshUntil,
    tags,
    loadMs: isDuration(loadMs) ? loadMs : undefined,
    textBytes,
    version: head.slice(4, 20),
  };
}

/** Whether it is meant to be a value of this format. */
export function isValue(bytes: unknown): bytes is Buffer {
  return Buffer.isBuffer(bytes) && bytes.toString('latin1', 0, VALUE.length) === VALUE;
}

/** 96 bits: a name for one write, not for a key. */
export function newVersion(): string {
  return randomBytes(12).toString('base64url');
}

/** A time as it stands in the header: so that their text compares as they do. */
export function digits(ms: number): string {
  return String(Math.min(Math.max(0, Math.ceil(ms)), FOREVER)).padStart(TIME_DIGITS, '0');
}

/** What `digits` wrote; NaN for anything else. */
function timeAt(head: string, from: number): number {
  let ms = 0;
  for (let at = from; at < from + TIME_DIGITS; at++) {
    const digit = head.charCodeAt(at) - 48;
    if (!(digit >= 0 && digit <= 9)) return Number.NaN;
    ms = ms * 10 + digit;
  }
  return ms;
}

function isText(value: unknown): boolean {
  return typeof value === 'string';
}

function isDuration(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value < Number.POSITIVE_INFINITY;
}

async function deflated(head: string, body: Uint8Array): Promise<Buffer> {
  const smaller = await deflate(body, { level: LEVEL });
  return smaller.length < body.length ? joined(head + DEFLATED, smaller) : joined(head + PLAIN, body);
}

function joined(head: string, body: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(head, 'latin1'), body]);
}
