import { createHash } from 'node:crypto';
import type { RedisClient } from './redis-client.ts';

export type Verb = 'sync' | 'trip' | 'close' | 'lease' | 'release';

/**
 * All that is done to the one hash that holds the circuits. A field is a circuit's name; its value, with times by the
 * server's own clock in milliseconds, is `1 <o|c> <id> <open until> <openings> <holder of the lease|-> <leased until> <kept until>`.
 * What does not look like that, or lies further ahead than anything of ours, is garbage and is deleted.
 *
 * ARGV: verb; then name, id that the caller knows, id for a change, its token, and
 * sync: nothing · trip: open for ms, openings · close: 1 to close whatever others know · lease: lease in ms, openings · release: nothing.
 *
 * Every verb answers with records (see `parseRecords`): sync with all, the others with the one they were about.
 */
const TEXT = `
local DAY = 86400000
local KEPT = 600000
local MOST = 10000
local key = KEYS[1]
local verb, name, known, fresh, token = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local kind = redis.call('TYPE', key)
kind = kind.ok or kind
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', key) end
if redis.call('HLEN', key) > MOST then redis.call('DEL', key) end

local function parse(value)
  if not value or #value > 200 then return nil end
  local state, id, open, openings, holder, lease, kept =
    string.match(value, '^1 ([oc]) (%w+) (%d+) (%d+) ([%w-]+) (%d+) (%d+)$')
  if not state then return nil end
  local r = { state = state, id = id, open = tonumber(open), openings = tonumber(openings),
    holder = holder, lease = tonumber(lease), kept = tonumber(kept) }
  if r.kept <= now or r.kept > now + 2 * DAY or r.open > now + DAY or r.lease > now + DAY or r.openings > 1000000 then
    return nil
  end
  return r
end

local function whole(number) return string.format('%.0f', number) end

local function show(out, field, r)
  out[#out + 1] = field
  out[#out + 1] = r.state
  out[#out + 1] = r.id
  out[#out + 1] = whole(math.max(0, r.open - now))
  out[#out + 1] = whole(r.openings)
  out[#out + 1] = r.holder
  out[#out + 1] = whole(math.max(0, r.lease - now))
end

local function write(r)
  -- One too many is not shared: its processes are on their own.
  if redis.call('HEXISTS', key, name) == 0 and redis.call('HLEN', key) >= MOST then return end
  r.kept = math.max(now, r.open, r.lease) + KEPT
  redis.call('HSET', key, name, table.concat({ '1', r.state, r.id, whole(r.open), whole(r.openings), r.holder, whole(r.lease), whole(r.kept) }, ' '))
  if redis.call('PTTL', key) < r.kept - now then redis.call('PEXPIRE', key, whole(r.kept - now)) end
end

local out = {}
if verb == 'sync' then
  local all = redis.call('HGETALL', key)
  for at = 1, #all, 2 do
    local r = #all[at] <= 1024 and parse(all[at + 1])
    if r then show(out, all[at], r) else redis.call('HDEL', key, all[at]) end
  end
  return out
end

local r = parse(redis.call('HGET', key, name))
if verb == 'trip' then
  local open = now + tonumber(ARGV[6])
  local openings = tonumber(ARGV[7])
  if r and r.state == 'o' and r.open > now then
    -- Open already: others saw it too. The longer period stands, and who probes by right goes on.
    if open > r.open then
      r.open = open
      r.id = fresh
    end
    r.openings = math.max(r.openings, openings)
  else
    r = { state = 'o', id = fresh, open = open, openings = openings, holder = '-', lease = 0 }
  end
  write(r)
elseif verb == 'close' then
  -- Somebody has seen the dependency fail after the caller last heard: that stands.
  local overtaken = r and r.state == 'o' and r.id ~= known and r.open > now
  if ARGV[6] == '1' or not overtaken then
    r = { state = 'c', id = fresh, open = 0, openings = 0, holder = '-', lease = 0 }
    write(r)
  end
elseif verb == 'lease' then
  -- A caller that knows it closed and yet wants to probe opened while Redis was away.
  if not r or (r.state == 'c' and r.id == known) then
    r = { state = 'o', id = fresh, open = now, openings = tonumber(ARGV[7]), holder = '-', lease = 0 }
  end
  local mine = r.holder == token or r.lease <= now
  -- Whose id the caller knows, its period is over by the caller's own clock, which cannot be stepped.
  if r.state == 'o' and mine and (r.id == known or r.open <= now) then
    r.holder = token
    r.lease = now + tonumber(ARGV[6])
    write(r)
  end
elseif verb == 'release' then
  if r and r.holder == token then
    r.holder = '-'
    r.lease = 0
    write(r)
  end
end
if r then show(out, name, r) end
return out
`;

// How Redis names scripts; nothing of ours is told apart by it.
const DIGEST: string = createHash('sha1').update(TEXT).digest('hex');

export async function runScript(
  client: RedisClient,
  key: string,
  verb: Verb,
  ...args: (string | number)[]
): Promise<unknown> {
  try {
    return await client.call('EVALSHA', DIGEST, 1, key, verb, ...args);
  } catch (error) {
    if (!(error as Error)?.message?.startsWith('NOSCRIPT')) throw error;
    return client.call('EVAL', TEXT, 1, key, verb, ...args);
  }
}
