import { join } from 'node:path';
import { startRedis } from '@x/local-services';
import { readmeExamples, runReadmeExample } from '@x/testkit';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';

const folder = join(import.meta.dirname, '..');
const examples = readmeExamples(folder);

let redis: Awaited<ReturnType<typeof startRedis>>;
beforeAll(async () => {
  redis = await startRedis({ external: false });
  vi.stubEnv('REDIS_URL', redis.url);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await redis?.[Symbol.asyncDispose]();
});

test('there are examples', () => {
  expect(examples.length).toBeGreaterThan(7);
});

test.each(examples)('README example $name runs and checks itself', async (example) => {
  await runReadmeExample(folder, example);
});
