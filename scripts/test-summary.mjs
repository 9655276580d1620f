// Adds up the results that each package's last `test` left in .vitest/results.json, and prints one closing line.
import { existsSync, readdirSync, readFileSync } from 'node:fs';

const results = ['packages', 'apps']
  .flatMap((folder) => readdirSync(folder).map((name) => `${folder}/${name}`))
  .filter((folder) => existsSync(`${folder}/test`))
  .map((folder) => ({ folder, file: `${folder}/.vitest/results.json` }));

const missing = results.filter(({ file }) => !existsSync(file)).map(({ folder }) => folder);
const reports = results
  .filter(({ file }) => existsSync(file))
  .map(({ file }) => JSON.parse(readFileSync(file, 'utf8')));
const sum = (field) => reports.reduce((total, report) => total + report[field], 0);

// A test file that cannot be loaded fails as a suite and has no failed test in it.
const brokenFiles = reports
  .flatMap((report) => report.testResults)
  .filter((file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'));
for (const folder of missing) console.log(`${folder}: no results, its tests did not run to the end`);
for (const file of brokenFiles) console.log(`${file.name}: ${file.message}`);

const failed = sum('numFailedTests') + brokenFiles.length + missing.length;
console.log(`${sum('numPassedTests')} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
