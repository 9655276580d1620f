import { join } from 'node:path';
import { readmeExamples, runReadmeExample } from '@x/testkit';
import { expect, test } from 'vitest';

const folder = join(import.meta.dirname, '..');
const examples = readmeExamples(folder);

test('there are examples', () => expect(examples.length).toBeGreaterThan(0));

test.each(examples)('README example $name runs', async (example) => {
  await runReadmeExample(folder, example);
});
