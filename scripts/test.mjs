// Runs the tests of every package through turbo (what did not change is replayed from its cache), then adds the results
// up in one closing line. Arguments go to turbo: `pnpm test --force`, `pnpm test --filter=@x/cache`.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';

const folders = ['packages', 'apps'].flatMap((parent) => readdirSync(parent).map((name) => `${parent}/${name}`));
const resultFiles = folders
  .filter((folder) => existsSync(`${folder}/test`))
  .map((folder) => `${folder}/.vitest/results.json`);
// What an earlier run left must not stand in for one that did not get to its end.
for (const file of resultFiles) rmSync(file, { force: true });

// Two at once: most tests wait for servers and timers, and more would make two cores thrash.
const flags = ['--concurrency=2', '--continue', '--log-order=grouped', '--log-prefix=none'];
const turbo = spawnSync('turbo', ['run', 'test', ...flags, ...process.argv.slice(2)], { stdio: 'inherit' });

const reports = resultFiles.filter((file) => existsSync(file)).map((file) => JSON.parse(readFileSync(file, 'utf8')));
const sum = (field) => reports.reduce((total, report) => total + report[field], 0);
// A test file that cannot be loaded has no failed test in it, only a failed suite.
const brokenFiles = reports
  .flatMap((report) => report.testResults)
  .filter((file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'));
for (const file of brokenFiles) console.log(`${file.name} could not be run: ${file.message}`);

const counted = sum('numFailedTests') + brokenFiles.length;
// Turbo also fails where nothing was counted: a package that does not build, a run that crashed.
const failed = counted === 0 && turbo.status !== 0 ? 1 : counted;
console.log(`\n${sum('numPassedTests')} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
