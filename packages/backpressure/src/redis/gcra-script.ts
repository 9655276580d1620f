import { createHash } from 'node:crypto';
import type { RedisClient } from './redis-client.ts';

export interface Question {
  /** The key's name in Redis. */
  name: string;
  cost: number;
  burst: number;
  msPerUnit: number;
  /** So much of the burst is surely used, as far as the asking process knows. */
  knownUsed: number;
}

export interface Answer {
  allowed: boolean;
  /** So much of the burst is used after this. */
  used: number;
}

/**
 * The generic cell rate algorithm in one step on the server, by the server's clock. A key holds how much of the burst was used, and when
 * (microseconds), as two doubles: the arrival time in two numbers, so that neither short units nor a clock that is set back cost precision.
 * Whatever else is found there counts as nothing used. The key expires when it has recovered.
 * ARGV: burst, milliseconds for each unit, cost, units known to be used. The answer is the units used after this, with a minus where the call is
 * refused: one string takes a tenth less of the server's time than two values.
 */
const SCRIPT = `local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local burst, perUnit = tonumber(ARGV[1]), tonumber(ARGV[2])
local cost, known = tonumber(ARGV[3]), tonumber(ARGV[4])
local used, ahead = 0, false
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'string' then
  local units, since = 0, 0
  if #held == 16 then units, since = struct.unpack('<dd', held) end
  if units < math.huge and since < 1e16 then
    ahead = since > now
    local passed = ahead and 0 or (now - since) / 1000
    used = math.max(0, math.min(units, burst) - passed / perUnit)
  end
end
used = math.max(used, math.min(known, burst))
local allowed = used + cost <= burst + 0.00000001
if allowed then used = used + cost end
if allowed or ahead then
  local px = math.min(math.max(1, math.ceil(used * perUnit)), ${100 * 365 * 86_400_000})
  redis.call('SET', KEYS[1], struct.pack('<dd', used, now), 'PX', px)
end
return string.format(allowed and '%.17g' or '-%.17g', used)`;

// How Redis names scripts; nothing of ours is told apart by it.
const DIGEST = createHash('sha1').update(SCRIPT).digest('hex');

/** One round trip; a second one only where the server does not know the script yet. */
export async function askGcra(client: RedisClient, question: Question): Promise<Answer> {
  const { name, burst, msPerUnit, cost, knownUsed } = question;
  let answer: unknown;
  try {
    answer = await client.call('EVALSHA', DIGEST, 1, name, burst, msPerUnit, cost, knownUsed);
  } catch (error) {
    if (!(error as Error | undefined)?.message?.startsWith('NOSCRIPT')) throw error;
    answer = await client.call('EVAL', SCRIPT, 1, name, burst, msPerUnit, cost, knownUsed);
  }
  const used = typeof answer === 'string' ? Math.abs(Number.parseFloat(answer)) : Number.NaN;
  if (!Number.isFinite(used)) {
    throw new TypeError('@x/backpressure: what answered is no Redis: units used expected');
  }
  return { allowed: !(answer as string).startsWith('-'), used };
}
