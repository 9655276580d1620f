// One of several processes that share a rate: asks as fast as it can for a while, and says how much it was allowed.
import { RedisRateLimiter } from '@x/backpressure/redis';
import { Redis } from 'ioredis';

process.once('message', async ({ url, prefix, limit, intervalMs, burst, calls }) => {
  const client = new Redis(url);
  const shared = { client, prefix, limit, intervalMs, burst, commandTimeoutMs: 60_000, onUnavailable: 'deny' };
  // Two limiters in each process, as two parts of one app may have.
  const limiters = [new RedisRateLimiter(shared), new RedisRateLimiter(shared)];
  let allowed = 0;
  for (let call = 0; call < calls; call += 20) {
    const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => limiters[n % 2].consume('all')));
    allowed += answers.filter((answer) => answer.allowed).length;
  }
  const alone = limiters.reduce((sum, limiter) => sum + limiter.stats().decidedAlone, 0);
  process.send({ allowed, alone });
  await Promise.all(limiters.map((limiter) => limiter.close()));
  await client.quit();
  process.disconnect();
});
