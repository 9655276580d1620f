import { checkClock } from '../cache-options.ts';
import { type Clock, systemClock } from '../clock.ts';
import { bag, count, having, oneOf, optional, optionError, positiveDuration, text, timer } from '../option-checks.ts';
import type { RedisClient } from './redis-client.ts';
import type { ValueEncoding } from './value-encoding.ts';

export interface RedisTierOptions {
  /** A `Redis` or `Cluster` of ioredis 5 or 6 without `enableAutoPipelining`. It stays its owner's: it is neither configured, listened to, nor closed here, but duplicated. */
  client: RedisClient;
  /** Stands before every key. Default `'cache:'`. Caches that share a Redis and a prefix share their entries. */
  prefix?: string | undefined;
  /**
   * How this process hears what others do to the entries that it has in memory. `'tracking'` (default): by the server's own invalidation
   * messages (`CLIENT TRACKING`, Redis 6 or later), whoever the writer is; where the server refuses that, by `'pubsub'`: by messages
   * that these tiers publish to each other. `'none'`: not at all, memory serves an entry until its time to live is over. The same in all processes.
   */
  invalidation?: 'tracking' | 'pubsub' | 'none' | undefined;
  /**
   * How long memory may serve as fresh what others have changed when the news of it does not come: Redis, the network or this process
   * stood still. It is usually well below a millisecond. A sign of life is asked for four times as often. While none comes, memory is
   * stale and Redis is asked, and when that is away too, each key is loaded once for so long. Milliseconds, or Infinity; default 2,000.
   */
  maxLagMs?: number | undefined;
  /** A command that takes longer has failed. Milliseconds, default 500. */
  commandTimeoutMs?: number | undefined;
  /** After a failure Redis is left alone for so long, then probed in the background. Milliseconds, default 1,000. */
  retryAfterMs?: number | undefined;
  /** How long a load may hold a key without giving a sign of life (it gives one every third of it): what a process that died while loading may cost the others. Milliseconds, default 5,000. */
  leaseMs?: number | undefined;
  /** How entries are written, such as `msgpack()` of `@x/cache/msgpack`. Default JSON, which is always read. */
  encoding?: ValueEncoding | undefined;
  /** Entries over so many bytes are compressed (DEFLATE, off the main thread). Default: none; 16,384 is sensible. */
  compressOverBytes?: number | undefined;
  /** A compressed entry that would become larger than this is a miss. Bytes, default 67,108,864. */
  maxInflatedBytes?: number | undefined;
  /** Keys that one SCAN looks at, and that one UNLINK or MGET takes. Default 500. */
  scanCount?: number | undefined;
  /** Default: the process's own. */
  clock?: Clock | undefined;
}

/** The options, checked, defaults filled in. */
export interface RedisTierSettings {
  client: RedisClient;
  prefix: string;
  invalidation: 'tracking' | 'pubsub' | 'none';
  maxLagMs: number;
  commandTimeoutMs: number;
  retryAfterMs: number;
  leaseMs: number;
  encoding: ValueEncoding | undefined;
  compressOverBytes: number;
  maxInflatedBytes: number;
  scanCount: number;
  clock: Clock;
}

export function checkRedisTierOptions(options: RedisTierOptions): RedisTierSettings {
  // Defaults by destructuring: they stand for undefined, and for nothing else that is no value.
  const {
    client,
    prefix = 'cache:',
    maxLagMs = 2_000,
    commandTimeoutMs = 500,
    retryAfterMs = 1_000,
    leaseMs = 5_000,
    compressOverBytes,
    maxInflatedBytes = 67_108_864,
    scanCount = 500,
    clock = systemClock(),
  } = bag('RedisTier options', options);
  having('client', ['call', 'callBuffer'], client);
  // Its `callBuffer` loses the name of the command then (redis/ioredis#1923); what one tick reads goes in one command here anyway.
  const pipelining = client.options?.enableAutoPipelining ?? false;
  if (pipelining !== false) throw optionError("client's enableAutoPipelining", 'false', pipelining);
  text('prefix', prefix);
  if (prefix.startsWith('tag|')) throw optionError('prefix', "a string that does not begin with 'tag|'", prefix);
  return {
    client,
    prefix,
    invalidation: invalidationOf(client, options.invalidation),
    maxLagMs: positiveDuration('maxLagMs', maxLagMs),
    commandTimeoutMs: timer('commandTimeoutMs', commandTimeoutMs),
    retryAfterMs: timer('retryAfterMs', retryAfterMs),
    leaseMs: timer('leaseMs', leaseMs),
    encoding: optional(valueEncoding, 'encoding', options.encoding),
    compressOverBytes: optional(count, 'compressOverBytes', compressOverBytes) ?? Number.POSITIVE_INFINITY,
    maxInflatedBytes: count('maxInflatedBytes', maxInflatedBytes),
    scanCount: count('scanCount', scanCount),
    clock: checkClock(clock),
  };
}

/** What the client can do: to hear of changes takes connections of our own. */
function invalidationOf(
  client: RedisClient,
  wanted: RedisTierOptions['invalidation'],
): RedisTierSettings['invalidation'] {
  const able = client.nodes !== undefined || client.duplicate !== undefined;
  const chosen = optional(invalidationMode, 'invalidation', wanted) ?? (able ? 'tracking' : 'none');
  if (chosen === 'none') return chosen;
  if (!able) having('client', ['call', 'callBuffer', 'duplicate'], client);
  const reads = client.options?.scaleReads ?? 'master';
  // A replica may still have what its master has just told us was changed.
  if (reads !== 'master') throw optionError("client's scaleReads", "'master' unless invalidation is 'none'", reads);
  return chosen;
}

function valueEncoding(option: string, value: unknown): ValueEncoding {
  const encoding = having(option, ['encode', 'decode'], value) as ValueEncoding;
  if (/^[A-Za-ik-z]$/.test(encoding.id)) return encoding;
  throw optionError(`${option}.id`, "one ASCII letter other than 'j'", encoding.id);
}

function invalidationMode(option: string, value: unknown): RedisTierSettings['invalidation'] {
  return oneOf(option, ['tracking', 'pubsub', 'none'], value);
}
