// One of several processes that share a rate: asks as fast as it can until it is told to stop, and says how much it was allowed.
import { RedisRateLimiter } from '@x/backpressure/redis';
import { Redis } from 'ioredis';

let stopped = false;

process.once('message', async ({ url, ...rate }) => {
  process.once('message', () => {
    stopped = true;
  });
  const client = new Redis(url, { retryStrategy: () => 50, maxRetriesPerRequest: null });
  client.on('error', () => {});
  // Two limiters in each process, as two parts of one app may have.
  const limiters = [new RedisRateLimiter({ client, ...rate }), new RedisRateLimiter({ client, ...rate })];
  let allowed = 0;
  const decidedBy = {};
  while (!stopped) {
    const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => limiters[n % 2].consume('all')));
    for (const answer of answers) {
      if (answer.allowed) allowed++;
      decidedBy[answer.decidedBy] = (decidedBy[answer.decidedBy] ?? 0) + 1;
    }
    if (answers.some((answer) => answer.allowed)) process.send({ allowed, decidedBy });
    // What is decided here takes no time, and would let nothing else run.
    await new Promise((resolve) => setImmediate(resolve));
  }
  process.send({ allowed, decidedBy, done: true });
  await Promise.all(limiters.map((limiter) => limiter.close()));
  client.disconnect();
  process.disconnect();
});
