import { pathToFileURL } from 'node:url';
import { startRedis } from '@x/local-services';
import { beforeAll, expect, test } from 'vitest';
import { readConfig } from '../src/config.ts';
import { createLogger } from '../src/logger.ts';
import { build, eventually, main } from './demo.ts';

beforeAll(build);

test('servers of one Redis share circuits only where they have the same database and upstream API', async () => {
  await using redis = await startRedis({ external: false });
  // The built module, since it starts worker threads that run from files.
  const { createDependencies } = await import(
    /* @vite-ignore */ pathToFileURL(main.replace(/main\.js$/, 'dependencies.js')).href
  );
  const addresses = {
    databaseUrl: 'postgres://me:secret@127.0.0.1:1/x',
    redisUrl: redis.url,
    upstreamUrl: 'http://127.0.0.1:1',
  };
  const start = async (more: object) => {
    const made = createDependencies(readConfig([]), { ...addresses, ...more }, createLogger('silent'));
    await eventually(() => made.circuits.stats().available);
    return made;
  };
  const one = await start({});
  const others = [
    await start({ databaseUrl: 'postgres://127.0.0.1:1/y' }),
    await start({ upstreamUrl: 'http://127.0.0.1:2' }),
  ];
  const same = await start({ databaseUrl: 'postgres://you:other@127.0.0.1:1/x' });
  for (let round = 0; round < 5; round++) {
    await one.breakers.upstream.run(() => Promise.reject(new Error('down'))).catch(() => {});
  }
  await eventually(() => same.breakers.upstream.state !== 'closed');
  expect(others.map(({ breakers }) => breakers.upstream.state)).toEqual(['closed', 'closed']);
  for (const { circuits, workers, metrics, redis: client } of [one, same, ...others]) {
    await Promise.all([circuits.close(), workers.close(), metrics.close()]);
    client.disconnect();
  }
}, 60_000);
