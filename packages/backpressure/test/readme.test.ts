import { join } from 'node:path';
import { readmeExamples, runReadmeExample } from '@x/testkit';
import { expect, test } from 'vitest';

const folder = join(import.meta.dirname, '..');
const examples = readmeExamples(folder);

test('there are examples', () => {
  expect(examples.length).toBeGreaterThan(3);
});

test.each(examples)('README example $name runs and checks itself', async (example) => {
  await runReadmeExample(folder, example);
});
