#!/usr/bin/env node
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import { type ChildServer, startChildServer } from './child-server.ts';

// A tour of the demo server: starts one, calls every tool through the official client, and prints what each pattern did.
// Small limits, so that shedding and the circuit can be seen in seconds.
const FLAGS = ['--max-concurrency', '32', '--max-queue', '32', '--breaker-recovery', '2000'];

const server = await startChildServer(fileURLToPath(new URL('./main.js', import.meta.url)), FLAGS);
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void server.stop().then(() => process.exit(130)));
try {
  await tour(server);
} finally {
  await server.stop();
}

async function tour({ url, upstreamUrl }: ChildServer): Promise<void> {
  const client = new Client({ name: 'tour', version: '1.0.0' });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)) as Parameters<Client['connect']>[0]);
  const call = async (name: string, args: Record<string, unknown> = {}) =>
    (await client.callTool({ name, arguments: args })) as CallToolResult;
  const timed = async (name: string, args: Record<string, unknown> = {}): Promise<[CallToolResult, number]> => {
    const start = performance.now();
    return [await call(name, args), performance.now() - start];
  };
  const counter = async (series: string) => {
    const exposition = await (await fetch(new URL('/metrics', url))).text();
    return exposition
      .split('\n')
      .filter((line) => line.startsWith(series))
      .reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' '))), 0);
  };
  const setUpstream = (mode: string, delayMs = 0) =>
    fetch(`${upstreamUrl}/control`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ mode, delayMs }),
    });

  const { tools } = await client.listTools();
  heading(`Connected to ${url}: ${tools.length} tools`);
  say(tools.map((tool) => tool.name).join(', '));

  heading('Warm connections (@x/pools, PostgresPool): get_user');
  say(`open before the first call: ${await counter('db_connection_pool_size')} connections`);
  const [user, firstUserMs] = await timed('get_user', { user_id: 'u42' });
  const [, nextUserMs] = await timed('get_user', { user_id: 'u43' });
  say(`first call ${ms(firstUserMs)}, second ${ms(nextUserMs)}: ${text(user)}`);

  heading('Batching (@x/dataloader): get_user_details');
  const batches = await counter('loader_batches_total');
  await Promise.all(Array.from({ length: 20 }, (_, n) => call('get_user_details', { user_id: `u${n + 1}` })));
  say(
    `20 concurrent calls, each an HTTP request of its own: ${(await counter('loader_batches_total')) - batches} queries`,
  );

  heading('Caching (@x/cache): get_org_structure');
  const [, coldMs] = await timed('get_org_structure', { depth: 6 });
  const [, warmMs] = await timed('get_org_structure', { depth: 6 });
  say(`first call ${ms(coldMs)}, second ${ms(warmMs)}`);
  const loads = await counter('cache_loads_total');
  await Promise.all(Array.from({ length: 20 }, () => call('get_org_structure', { depth: 5 })));
  say(`20 concurrent callers of a cold key: ${(await counter('cache_loads_total')) - loads} load`);

  heading('CPU work beside the event loop (@x/pools, WorkerPool): process_large_dataset');
  const numbers = Array.from({ length: 100_000 }, (_, n) => Math.sin(n) * 1_000);
  const [[statistics, datasetMs], slowestMs] = await Promise.all([
    timed('process_large_dataset', { numbers }),
    slowestHealthCheck(url),
  ]);
  say(`100,000 numbers in ${ms(datasetMs)}; slowest of 20 health checks meanwhile: ${ms(slowestMs)}`);
  say(text(statistics));

  heading('Many calls at once, partial results (@x/pools HttpPool, @x/backpressure settleLimit): fetch_user_data');
  const [profiles, profilesMs] = await timed('fetch_user_data', {
    user_ids: [...Array.from({ length: 50 }, (_, n) => `u${n + 1}`), 'u77777'],
  });
  const { users, failed } = profiles.structuredContent as { users: unknown[]; failed: unknown[] };
  say(`${users.length} profiles in ${ms(profilesMs)}, failed: ${JSON.stringify(failed)}`);

  heading('Only where it may go (@x/pools egress): fetch_with_limit');
  const fetched = await call('fetch_with_limit', {
    urls: [`${upstreamUrl}/documents/d7`, 'http://169.254.169.254/latest/meta-data/'],
  });
  say(text(fetched));

  heading(
    'Validated before anything is written (@x/dataloader validateBatch, one transaction): batch_create_assignments',
  );
  const good = { title: 'Read the tour', assignee_id: 'u1' };
  say(
    text(
      await call('batch_create_assignments', {
        assignments: [good, { title: '', assignee_id: 'u2' }, { ...good, priority: 9 }],
      }),
    ),
  );
  say(text(await call('batch_create_assignments', { assignments: [good, { ...good, priority: 1 }] })));

  heading('Circuit breaker (@x/breaker): call_external_api');
  say(`well: ${text(await call('call_external_api', { endpoint: 'status' }))}`);
  await setUpstream('failing');
  for (let n = 1; n <= 6; n++) {
    const [answer, answerMs] = await timed('call_external_api', { endpoint: 'status' });
    say(`failing, call ${n} (${ms(answerMs)}): ${text(answer)}`);
  }
  await setUpstream('ok');
  const recoveryMs = await timeUntil(
    async () => (await call('call_external_api', { endpoint: 'status' })).isError !== true,
  );
  say(`well again: the circuit closed after ${ms(recoveryMs)}`);

  heading(
    'Load shedding (@x/backpressure): 200 calls at once to a slow tool, on a server that takes 32 and lets 32 wait',
  );
  await setUpstream('slow', 300);
  const statuses = await Promise.all(Array.from({ length: 200 }, (_, n) => rawCall(url, n)));
  const shed = statuses.filter(({ status }) => status === 503);
  say(
    `${statuses.length - shed.length} answered 200, ${shed.length} answered 503 with Retry-After ${shed[0]?.retryAfter ?? '(none)'}`,
  );
  if (shed[0] !== undefined) say(shed[0].body);

  heading('Metrics (@x/metrics)');
  const exposition = await (await fetch(new URL('/metrics', url))).text();
  const shown =
    /^(concurrent_requests|queue_depth|cache_hit_ratio|db_connection_pool_size|breaker_transitions_total|tool_execution_duration_seconds_count)[ {]/;
  say(
    exposition
      .split('\n')
      .filter((line) => shown.test(line) && !line.endsWith(' 0'))
      .join('\n'),
  );
  await client.close();
}

/** A request without the SDK's client, which would hide the status. */
async function rawCall(url: string, id: number): Promise<{ status: number; retryAfter: string | null; body: string }> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id,
      method: 'tools/call',
      params: { name: 'call_external_api', arguments: { endpoint: 'status' } },
    }),
  });
  return { status: response.status, retryAfter: response.headers.get('retry-after'), body: await response.text() };
}

async function slowestHealthCheck(url: string): Promise<number> {
  let slowest = 0;
  for (let n = 0; n < 20; n++) {
    const start = performance.now();
    await (await fetch(new URL('/healthz', url))).text();
    slowest = Math.max(slowest, performance.now() - start);
  }
  return slowest;
}

async function timeUntil(check: () => Promise<boolean>): Promise<number> {
  const start = performance.now();
  while (!(await check())) await new Promise((resolve) => setTimeout(resolve, 100));
  return performance.now() - start;
}

function text(result: CallToolResult): string {
  return result.content
    .map((part) => (part.type === 'text' ? part.text : ''))
    .join('\n')
    .slice(0, 600);
}

function ms(duration: number): string {
  return `${duration.toFixed(1)} ms`;
}

function heading(line: string): void {
  console.log(`\n${line}`);
}

function say(line: string): void {
  console.log(line.replace(/^/gm, '  '));
}
