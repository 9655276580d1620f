import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startRedis } from '@x/local-services';
import { expect, test } from 'vitest';

/** Bentocache's suite is written for the japa runner, which wants a process of its own. Runs on what was built. */
async function run(env: Record<string, string>): Promise<string[]> {
  const suite = join(import.meta.dirname, 'fixtures', 'bentocache-suite.mjs');
  const { stdout } = await promisify(execFile)(process.execPath, [suite], { env: { ...process.env, ...env } }).catch(
    (error: { stdout: string; stderr: string }) => {
      throw new Error(`the suite failed:\n${error.stdout}\n${error.stderr}`);
    },
  );
  return stdout.split('\n').filter((line) => line.startsWith('passed '));
}

test.concurrent('bentocache’s driver suite is green on the memory tier', async () => {
  expect((await run({ SUITE_REDIS_URL: '' })).length).toBeGreaterThanOrEqual(20);
});

test.concurrent('bentocache’s driver suite is green on Redis', async () => {
  const service = await startRedis();
  try {
    expect((await run({ SUITE_REDIS_URL: service.url })).length).toBeGreaterThanOrEqual(20);
  } finally {
    await service[Symbol.asyncDispose]();
  }
});
