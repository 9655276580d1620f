import { join } from 'node:path';
import { readmeExamples, runReadmeExample } from '@x/testkit';
import { expect, it } from 'vitest';

const folder = join(import.meta.dirname, '..');
const examples = readmeExamples(folder);

it('the README has an example for each pool', () => {
  expect(examples).toHaveLength(3);
});

it.each(examples)('README example $name runs and checks itself', async (example) => {
  await runReadmeExample(folder, example);
});
