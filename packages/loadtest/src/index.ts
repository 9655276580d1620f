export type { Clock } from './clock.ts';
export { LoadTestError } from './errors.ts';
export { type LoadTestOptions, runLoadTest, type ToolArguments } from './load-test.ts';
export type { FailureClass } from './outcome.ts';
export type { FailureSummary, LatencySummary, LoadTestProgress, LoadTestResult } from './recorder.ts';
