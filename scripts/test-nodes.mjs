// Runs the whole test suite on other Node versions, from the npm registry: `pnpm test:nodes 22 24`.
import { spawnSync } from 'node:child_process';

const versions = process.argv.length > 2 ? process.argv.slice(2) : ['22', '24', '26'];
const failed = versions.filter((version) => {
  console.log(`\nNode ${version}`);
  return (
    spawnSync('npx', ['-y', `node@${version}`, './node_modules/vitest/vitest.mjs', 'run'], { stdio: 'inherit' })
      .status !== 0
  );
});
if (failed.length > 0) console.error(`failed on Node ${failed.join(', ')}`);
process.exitCode = failed.length > 0 ? 1 : 0;
