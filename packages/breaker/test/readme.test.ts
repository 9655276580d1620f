import { join } from 'node:path';
import { readmeExamples, runReadmeExample } from '@x/testkit';
import { describe, it } from 'vitest';

const folder = join(import.meta.dirname, '..');

describe('the README', () => {
  it.each(readmeExamples(folder))('example $name runs', async (example) => {
    await runReadmeExample(folder, example);
  });
});
