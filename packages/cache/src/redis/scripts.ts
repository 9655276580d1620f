import { createHash } from 'node:crypto';
import type { RedisClient } from './redis-client.ts';

/** A script that works on one key, so that it runs on a cluster as well. */
export class Script {
  readonly #text: string;
  readonly #digest: string;

  constructor(text: string) {
    this.#text = text;
    // How Redis names scripts; nothing of ours is told apart by it.
    this.#digest = createHash('sha1').update(text).digest('hex');
  }

  async run(client: RedisClient, key: string, ...args: (string | number)[]): Promise<unknown> {
    try {
      return await client.call('EVALSHA', this.#digest, 1, key, ...args);
    } catch (error) {
      if (!(error as Error).message?.startsWith('NOSCRIPT')) throw error;
      return client.call('EVAL', this.#text, 1, key, ...args);
    }
  }
}

const NOW = `local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)`;

/**
 * Asks to load a key. ARGV: version seen ('' for none), token, lease in ms. Answers 1 granted, 0 held elsewhere, 2 changed since.
 * A value that is there stays readable: only its version and lease are written over.
 */
export const LEASE_KEY: Script = new Script(`
local head = redis.call('GETRANGE', KEYS[1], 0, 34)
local format = string.sub(head, 1, 4)
if format == 'xc1L' then return 0 end
if format ~= 'xc1V' then
  redis.call('SET', KEYS[1], 'xc1L' .. ARGV[2], 'PX', ARGV[3])
  return 1
end
${NOW}
if tonumber(string.sub(head, 21, 35)) > now then return 0 end
if string.sub(head, 5, 20) ~= ARGV[1] then return 2 end
redis.call('SETRANGE', KEYS[1], 4, ARGV[2] .. string.format('%015.0f', now + tonumber(ARGV[3])))
return 1`);

/** ARGV: token, lease in ms. */
export const RENEW: Script = new Script(`
local head = redis.call('GETRANGE', KEYS[1], 0, 19)
if string.sub(head, 5) ~= ARGV[1] then return 0 end
if string.sub(head, 1, 4) == 'xc1L' then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
${NOW}
redis.call('SETRANGE', KEYS[1], 20, string.format('%015.0f', now + tonumber(ARGV[2])))
return 1`);

/** ARGV: token. */
export const RELEASE: Script = new Script(`
local head = redis.call('GETRANGE', KEYS[1], 0, 19)
if string.sub(head, 5) ~= ARGV[1] then return 0 end
if string.sub(head, 1, 4) == 'xc1L' then return redis.call('DEL', KEYS[1]) end
redis.call('SETRANGE', KEYS[1], 20, '000000000000000')
return 1`);

/** Writes only where the token still stands. ARGV: token, envelope, time to keep in ms (0: for ever). */
export const STORE: Script = new Script(`
if redis.call('GETRANGE', KEYS[1], 4, 19) ~= ARGV[1] then return 0 end
if ARGV[3] == '0' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1`);

/** Makes a value stale from now on and takes away whatever lease there is. ARGV: new version, now as 15 digits of wall-clock ms. */
export const EXPIRE: Script = new Script(`
local head = redis.call('GETRANGE', KEYS[1], 0, 49)
local format = string.sub(head, 1, 4)
if format == 'xc1L' then return redis.call('DEL', KEYS[1]) end
if format ~= 'xc1V' then return 0 end
local fresh = string.sub(head, 36, 50)
if fresh > ARGV[2] then fresh = ARGV[2] end
redis.call('SETRANGE', KEYS[1], 4, ARGV[1] .. '000000000000000' .. fresh)
return 1`);

/**
 * Adds a key to a tag's index, drops the keys that are over, and keeps the index as long as its last key.
 * ARGV: key, until (wall clock), over before (wall clock), time to keep in ms (0: for ever).
 */
export const TAG: Script = new Script(`
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not known or ARGV[2] == '+inf' or (known ~= 'inf' and tonumber(known) < tonumber(ARGV[2])) then
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[3])
local left = redis.call('PTTL', KEYS[1])
if ARGV[4] == '0' then redis.call('PERSIST', KEYS[1])
elseif left == -1 then
  if not known and redis.call('ZCARD', KEYS[1]) == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
elseif left < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return 1`);
