import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { defineConfig } from 'vitest/config';

// Tests run on source, also that of siblings: both places are needed, or coverage and breakpoints land in dist.
// Not `module`: Vitest hands these on to Node, whose `require` would then be given ES modules.
const conditions = ['@x/source', 'node'];

const workspace = ['packages', 'apps'].flatMap((folder) =>
  readdirSync(join(import.meta.dirname, folder)).map((name) => join(import.meta.dirname, folder, name)),
);

export default defineConfig({
  test: {
    // A file for each package (the folder the script was started in), so that totals can be added up.
    reporters: ['default', ['json', { outputFile: resolve(process.cwd(), '.vitest/results.json') }]],
    coverage: { include: ['packages/*/src/**', 'apps/*/src/**'] },
    projects: workspace
      .filter((root) => existsSync(join(root, 'test')))
      .map((root) => ({
        resolve: { conditions },
        ssr: { resolve: { conditions } },
        test: {
          name: JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).name,
          root,
          include: ['test/**/*.test.ts'],
          testTimeout: 20_000,
          hookTimeout: 60_000,
        },
      })),
  },
});
