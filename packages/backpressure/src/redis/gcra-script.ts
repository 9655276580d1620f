import { createHash } from 'node:crypto';
import type { RedisClient } from './redis-client.ts';

export interface GcraAnswer {
  allowed: boolean;
  remaining: number;
  retryAfterMs: number;
}

/**
 * The generic cell rate algorithm in one step on the server, by the server's clock. ARGV: T (ms for a unit of cost), burst · T (ms),
 * cost. What the key holds is a time; whatever else is found there counts as nothing, and a time further ahead than
 * the burst (a clock that was set back, a stranger's write) as a burst that is used up, so that nobody is locked out.
 */
const SCRIPT = `local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local perUnit, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local held = redis.pcall('GET', KEYS[1])
local arrival = type(held) == 'string' and tonumber(held) or now
if not (arrival >= now) then arrival = now end
if arrival > now + burst then arrival = now + burst end
local after = arrival + cost * perUnit
local missing = after - burst - now
local allowed = missing <= 0.01
if allowed then
  redis.call('SET', KEYS[1], string.format('%.4f', after), 'PX', math.max(1, math.ceil(after - now)))
  missing = 0
else
  after = arrival
end
local left = math.max(0, math.floor((burst - (after - now) + 0.01) / perUnit))
return { allowed and 1 or 0, string.format('%.0f', left), string.format('%.0f', math.ceil(missing)) }`;

// How Redis names scripts; nothing of ours is told apart by it.
const DIGEST = createHash('sha1').update(SCRIPT).digest('hex');

/** One round trip; a second one only where the server does not know the script yet. */
export async function askGcra(
  client: RedisClient,
  key: string,
  rate: { msPerUnit: number; burstMs: number },
  cost: number,
): Promise<GcraAnswer> {
  const args = [1, key, rate.msPerUnit, rate.burstMs, cost];
  let answer: unknown;
  try {
    answer = await client.call('EVALSHA', DIGEST, ...args);
  } catch (error) {
    if (!(error as Error).message?.startsWith('NOSCRIPT')) throw error;
    answer = await client.call('EVAL', SCRIPT, ...args);
  }
  const [allowed, remaining, retryAfterMs] = Array.isArray(answer) ? answer.map(Number) : [];
  return { allowed: allowed === 1, remaining: remaining ?? 0, retryAfterMs: retryAfterMs ?? 0 };
}
