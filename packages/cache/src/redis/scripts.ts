import { createHash } from 'node:crypto';
import type { Argument, RedisClient } from './redis-client.ts';

/** A script that works on one key or, on one server, on a value's key and then the indexes of its tags. */
export class Script {
  readonly #text: string;
  readonly #digest: string;

  constructor(text: string) {
    this.#text = text;
    // How Redis names scripts; nothing of ours is told apart by it.
    this.#digest = createHash('sha1').update(text).digest('hex');
  }

  /** For what may come late: a server that does not know the script is asked again, behind commands sent meanwhile. */
  async run(client: RedisClient, keys: readonly string[], ...args: Argument[]): Promise<unknown> {
    try {
      return await client.call('EVALSHA', this.#digest, keys.length, ...keys, ...args);
    } catch (error) {
      if (!(error as Error).message?.startsWith('NOSCRIPT')) throw error;
      return client.call('EVAL', this.#text, keys.length, ...keys, ...args);
    }
  }

  /** For what must not be overtaken by the commands that are sent next: its text is always sent along. */
  runInOrder(client: RedisClient, keys: readonly string[], ...args: Argument[]): Promise<unknown> {
    return client.call('EVAL', this.#text, keys.length, ...keys, ...args);
  }
}

const NOW = `local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)`;

/** The nodes' clocks may differ by so much: the index of a tag may lie on another than the value. */
const CLOCK_SLACK_MS = 60_000;

/**
 * Notes a key in the indexes of its tags (all keys but the first), drops the keys that are over, and keeps each index as long as its
 * last key. All by the server's clock: a process whose own is off would drop what others have noted. ARGV: key, time to keep in ms (0: for ever).
 */
const INDEX = `local function index(at)
  ${NOW}
  local forever = ARGV[2] == '0'
  local over = '+inf'
  if not forever then over = string.format('%.0f', now + ARGV[2]) end
  local kind = redis.call('TYPE', at).ok
  if kind ~= 'zset' and kind ~= 'none' then redis.call('DEL', at) end
  local known = redis.call('ZSCORE', at, ARGV[1])
  if not known or forever or (known ~= 'inf' and tonumber(known) < tonumber(over)) then
    redis.call('ZADD', at, over, ARGV[1])
  end
  redis.call('ZREMRANGEBYSCORE', at, '-inf', '(' .. string.format('%.0f', now - ${CLOCK_SLACK_MS}))
  local left = redis.call('PTTL', at)
  if forever then redis.call('PERSIST', at)
  elseif left == -1 then
    if not known and redis.call('ZCARD', at) == 1 then redis.call('PEXPIRE', at, ARGV[2]) end
  elseif left < tonumber(ARGV[2]) then redis.call('PEXPIRE', at, ARGV[2]) end
end
local function indexAll()
  for at = 2, #KEYS do index(KEYS[at]) end
end`;

/** One tag's index alone. ARGV: those of the index. */
export const TAG: Script = new Script(`
${INDEX}
index(KEYS[1])
return 1`);

/** The server's clock, in ms. The key says which server is asked. */
export const TIME: Script = new Script(`
${NOW}
return now`);

/**
 * Writes a value together with its tags: nobody finds it without them. What comes too late deletes instead, and answers 0. ARGV: those
 * of the index, envelope, until when in ms of the server's clock.
 */
export const SET_UNTIL: Script = new Script(`
${INDEX}
${NOW}
if now > tonumber(ARGV[4]) then
  redis.call('DEL', KEYS[1])
  return 0
end
indexAll()
if ARGV[2] == '0' then redis.call('SET', KEYS[1], ARGV[3]) else redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2]) end
return 1`);

/**
 * Asks to load a key. ARGV: those of the index, version seen ('' for none), token, lease in ms. Answers 1 granted, 2 changed since, or held elsewhere for so many ms, as a negative number.
 * A value that is there stays readable: only its version and lease are written over. What is no value of ours gives way, of whatever type.
 */
export const LEASE_KEY: Script = new Script(`
${INDEX}
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'string' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local head = redis.call('GETRANGE', KEYS[1], 0, 34)
local format = string.sub(head, 1, 4)
if format == 'xc2L' then return -math.max(1, redis.call('PTTL', KEYS[1])) end
if format ~= 'xc2V' then
  indexAll()
  redis.call('SET', KEYS[1], 'xc2L' .. ARGV[4], 'PX', ARGV[5])
  return 1
end
${NOW}
local held = tonumber(string.sub(head, 21, 35)) - now
if held > 0 then return -held end
if string.sub(head, 5, 20) ~= ARGV[3] then return 2 end
indexAll()
redis.call('SETRANGE', KEYS[1], 4, ARGV[4] .. string.format('%015.0f', now + tonumber(ARGV[5])))
return 1`);

/** ARGV: token, lease in ms. */
export const RENEW: Script = new Script(`
local head = redis.call('GETRANGE', KEYS[1], 0, 19)
if string.sub(head, 5) ~= ARGV[1] then return 0 end
if string.sub(head, 1, 4) == 'xc2L' then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
${NOW}
redis.call('SETRANGE', KEYS[1], 20, string.format('%015.0f', now + tonumber(ARGV[2])))
return 1`);

/** ARGV: token. */
export const RELEASE: Script = new Script(`
local head = redis.call('GETRANGE', KEYS[1], 0, 19)
if string.sub(head, 5) ~= ARGV[1] then return 0 end
if string.sub(head, 1, 4) == 'xc2L' then return redis.call('DEL', KEYS[1]) end
redis.call('SETRANGE', KEYS[1], 20, '000000000000000')
return 1`);

/** Writes only where the token still stands. ARGV: those of the index, envelope, token. */
export const STORE: Script = new Script(`
${INDEX}
if redis.call('GETRANGE', KEYS[1], 4, 19) ~= ARGV[4] then return 0 end
indexAll()
if ARGV[2] == '0' then redis.call('SET', KEYS[1], ARGV[3]) else redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2]) end
return 1`);

/** Makes a value stale from now on and takes away whatever lease there is; what another version of this package wrote goes altogether. ARGV: new version, now as 15 digits of wall-clock ms; the server's clock counts too, since the process's may be ahead. */
export const EXPIRE: Script = new Script(`
local head = redis.call('GETRANGE', KEYS[1], 0, 49)
if head == '' then return 0 end
if string.sub(head, 1, 4) ~= 'xc2V' then return redis.call('DEL', KEYS[1]) end
${NOW}
local fresh = string.sub(head, 36, 50)
for _, moment in ipairs({ ARGV[2], string.format('%015.0f', now) }) do
  if fresh > moment then fresh = moment end
end
redis.call('SETRANGE', KEYS[1], 4, ARGV[1] .. '000000000000000' .. fresh)
return 1`);
