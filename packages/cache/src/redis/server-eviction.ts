import type { RedisClient } from './redis-client.ts';

/** By which policy the server gives up keys when its memory is full; undefined where it gives up none, or does not say. */
export async function evictionPolicyOf(client: RedisClient): Promise<string | undefined> {
  try {
    const info = String(await client.call('INFO', 'memory'));
    const [, policy] = /^maxmemory_policy:([\w-]+)/m.exec(info) ?? [];
    const bounded = /^maxmemory:[1-9]/m.test(info);
    return bounded && policy !== 'noeviction' ? policy : undefined;
  } catch {
    // Managed servers may refuse.
    return undefined;
  }
}
