import { expect, test } from 'vitest';
import { report } from '../src/soak/report.ts';
import { runSoak } from '../src/soak/soak.ts';
import { build, main } from './demo.ts';

test('under load, with faults one after another, every invariant of the soak holds', async () => {
  build();
  const result = await runSoak({ main, durationMs: 6_000, minFaults: 3 });
  expect(result.recorder.violations).toEqual([]);
  // The load was there, and so were the faults.
  expect(Object.fromEntries([...result.recorder.tools].map(([tool, { success }]) => [tool, success > 0]))).toEqual({
    get_user: true,
    get_user_details: true,
    get_org_structure: true,
    batch_create_assignments: true,
    fetch_user_data: true,
    fetch_with_limit: true,
    call_external_api: true,
    process_large_dataset: true,
  });
  expect(result.faults.length).toBeGreaterThanOrEqual(3);
  expect(result.final.assignments.acknowledged).toBeGreaterThan(0);
  expect(report(result)).toContain('Every invariant held.');
}, 90_000);
