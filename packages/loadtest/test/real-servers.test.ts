import { runLoadTest } from '@x/loadtest';
import { expect, test } from 'vitest';
import { startSessionful, startStateless } from './mcp-servers.ts';

const short = { concurrency: 5, durationMs: 300 };

test.each([
  ['JSON answers', true],
  ['event streams', false],
])('a stateless server of the SDK that gives %s', async (_name, json) => {
  await using server = await startStateless(json);
  const result = await runLoadTest({ target: server.url, tool: 'echo', args: { text: 'hello' }, ...short });
  expect(result.failures).toBe(0);
  expect(result.successes).toBeGreaterThanOrEqual(5);
  expect(result.total).toBe(result.successes);
  expect(server.seen).toHaveLength(result.total);
  const ids = server.seen.map((call) => (call as { id: number }).id);
  expect(new Set(ids).size).toBe(ids.length);
  const { min, mean, p50, p90, p95, p99, p999, max } = result.latencyMs;
  expect([min, p50, p90, p95, p99, p999, max]).toEqual([min, p50, p90, p95, p99, p999, max].sort((a, b) => a - b));
  expect(mean).toBeGreaterThan(min);
});

test('a server with sessions: one handshake, unique ids in it, and the session is closed', async () => {
  await using server = await startSessionful();
  const result = await runLoadTest({ target: server.url, tool: 'echo', args: { text: 'x' }, ...short });
  expect(result.failures).toBe(0);
  expect(result.successes).toBeGreaterThanOrEqual(5);
  expect(server.opened()).toBe(1);
  expect(server.sessions.size).toBe(0);
});

test('several sessions take turns', async () => {
  await using server = await startSessionful();
  const result = await runLoadTest({ target: server.url, tool: 'echo', args: { text: 'x' }, ...short, sessions: 3 });
  expect(result.failures).toBe(0);
  expect(new Set(server.seen.map((call) => (call as { session: string }).session)).size).toBe(3);
  expect(server.sessions.size).toBe(0);
});

test('tool errors, refusals and unknown tools are told apart', async () => {
  await using server = await startStateless(true);
  const run = (tool: string) => runLoadTest({ target: server.url, tool, ...short });
  const failed = await run('fail');
  expect(failed.successes).toBe(0);
  expect(failed.failuresByClass.tool.samples).toEqual([{ message: 'no such user', count: failed.total }]);
  const refused = await run('refuse');
  expect(refused.failuresByClass.refused.codes).toEqual({ ERR_CIRCUIT_OPEN: refused.total });
  expect(refused.failuresByClass.refused.samples[0]?.message).toBe('The database is resting. Retry in 2 s.');
  const unknown = await run('nothing');
  expect(unknown.failures).toBe(unknown.total);
  expect(unknown.failuresByClass.tool.samples[0]?.message).toContain('nothing not found');
});
