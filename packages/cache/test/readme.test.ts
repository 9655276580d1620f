import { join } from 'node:path';
import { readmeExamples, runReadmeExample } from '@x/testkit';
import { expect, test } from 'vitest';

const folder = join(import.meta.dirname, '..');
const examples = readmeExamples(folder);

test('the README has an example', () => {
  expect(examples.length).toBeGreaterThan(0);
});

test.each(examples)('example $name of the README does what it says', async (example) => {
  await runReadmeExample(folder, example);
});
