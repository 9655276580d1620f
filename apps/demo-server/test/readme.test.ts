import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createCommand } from '../src/config.ts';

const readme = readFileSync(join(import.meta.dirname, '../README.md'), 'utf8');

test('the table of settings in the README is that of --help', () => {
  const rows = createCommand().options.map((option) => {
    const fallback =
      Array.isArray(option.defaultValue) || option.defaultValue === undefined ? '' : `\`${option.defaultValue}\``;
    return `| \`${option.flags}\` | ${option.envVar === undefined ? '' : `\`${option.envVar}\``} | ${fallback} | ${option.description} |`;
  });
  const table = readme.split('\n').filter((line) => line.startsWith('| `--'));
  expect(table).toEqual(rows);
});
