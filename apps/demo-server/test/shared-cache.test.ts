import { startPostgres, startRedis } from '@x/local-services';
import { expect, test } from 'vitest';
import { call, connect, metric, startDemo } from './demo.ts';

test('what one server has loaded another finds in Redis', async () => {
  await using postgres = await startPostgres({ external: false });
  await using redis = await startRedis({ external: false });
  const services = ['--database-url', postgres.url, '--redis-url', redis.url];
  await using one = await startDemo(...services);
  await using two = await startDemo(...services);

  const answers = [];
  for (const { url } of [one, two]) {
    const client = await connect(url);
    answers.push(await call(client, 'get_org_structure'));
    await client.close();
  }
  expect(answers[1]?.structuredContent).toEqual(answers[0]?.structuredContent);
  expect(await metric(one, /^cache_loads_total/)).toBe(1);
  expect(await metric(two, /^cache_loads_total/)).toBe(0);
  expect(await metric(two, /^cache_hit_ratio\{cache_type="redis"\}/)).toBe(1);
}, 60_000);
