import { pathToFileURL } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { createLogger } from '../../src/logger.ts';
import { build, main } from '../demo.ts';

// A database that lets nobody in any more, or is not there, was tried anew by every call.

beforeAll(build);

test.each(['ERR_AUTHENTICATION', 'ERR_NO_SUCH_DATABASE', 'ERR_COMMIT_UNKNOWN'])(
  '%s speaks against the database',
  async (code) => {
    // The built module, since it starts worker threads that run from files.
    const { createDependencies } = await import(
      /* @vite-ignore */ pathToFileURL(main.replace(/main\.js$/, 'dependencies.js')).href
    );
    const addresses = {
      databaseUrl: 'postgres://127.0.0.1:1/x',
      redisUrl: 'redis://127.0.0.1:1',
      upstreamUrl: 'http://127.0.0.1:1',
    };
    const { breakers, workers, metrics } = createDependencies(readConfig([]), addresses, createLogger('silent'));
    for (let round = 0; round < 5; round++) {
      await breakers.postgres.run(() => Promise.reject(Object.assign(new Error(code), { code }))).catch(() => {});
    }
    expect(breakers.postgres.state).toBe('open');
    await workers.close();
    await metrics.close();
  },
);
