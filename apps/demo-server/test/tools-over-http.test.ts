import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ChildServer } from '../src/child-server.ts';
import { call, connect, errorOf, eventually, metric, setUpstream, startDemo, text } from './demo.ts';

let server: ChildServer;
let client: Client;

beforeAll(async () => {
  server = await startDemo();
  client = await connect(server.url);
});
afterAll(async () => {
  await client?.close();
  await server?.[Symbol.asyncDispose]();
});

test('every tool is listed with title, description, schemas and annotations', async () => {
  const { tools } = await client.listTools();
  expect(tools.map((tool) => tool.name).sort()).toEqual([
    'batch_create_assignments',
    'call_external_api',
    'fetch_user_data',
    'fetch_with_limit',
    'get_org_structure',
    'get_user',
    'get_user_details',
    'process_large_dataset',
  ]);
  for (const tool of tools) {
    expect(tool.title, tool.name).toBeTruthy();
    expect(tool.description?.length, tool.name).toBeGreaterThan(50);
    expect(tool.inputSchema.type).toBe('object');
    expect(tool.outputSchema?.type).toBe('object');
    expect(tool.annotations?.readOnlyHint, tool.name).toBe(tool.name !== 'batch_create_assignments');
  }
});

test('the schema of batch_create_assignments tells what an item looks like', async () => {
  const { tools } = await client.listTools();
  const schema = tools.find((tool) => tool.name === 'batch_create_assignments')?.inputSchema as any;
  expect(schema.properties.assignments.items.properties).toHaveProperty('assignee_id');
  expect(schema.properties.assignments.items.required).toEqual(['title', 'assignee_id']);
});

describe('get_user', () => {
  test('a user is structured and text alike', async () => {
    const result = await call(client, 'get_user', { user_id: 'u1' });
    expect(result.structuredContent).toMatchObject({ id: 'u1', email: 'u1@example.com', manager_id: null });
    expect(JSON.parse(text(result))).toEqual(result.structuredContent);
  });

  test('an unknown user is a result that says so', async () => {
    const result = await call(client, 'get_user', { user_id: 'u999999' });
    expect(result.isError).toBe(true);
    expect(text(result)).toMatch(/no user u999999/);
    expect(errorOf(result).code).toBe('ERR_NOT_FOUND');
    expect(result.structuredContent).toBeUndefined();
  });

  test.each([[{}], [{ user_id: 7 }], [{ user_id: "u1' OR '1'='1" }], [{ user_id: 'u1', extra: true }]])(
    '%j is refused by the schema',
    async (args) => {
      const result = await call(client, 'get_user', args);
      expect(result.isError).toBe(true);
      expect(text(result)).toMatch(/Invalid arguments for tool get_user/);
    },
  );
});

describe('get_user_details', () => {
  test('has the unit, the manager, the number of reports and the assignments', async () => {
    const { structuredContent } = await call(client, 'get_user_details', { user_id: 'u42' });
    expect(structuredContent).toMatchObject({
      id: 'u42',
      manager: expect.any(String),
      reports: 8,
      assignments: expect.any(Array),
    });
  });

  test('20 concurrent calls over HTTP make at most 2 queries, and each gets its own user', async () => {
    const before = await metric(server, /^loader_batches_total/);
    // All 20 are sent before the server reads the first: else how concurrent they are depends on what else the machine does.
    let sent = 0;
    const count = () => void sent++;
    subscribe('undici:client:sendHeaders', count);
    server.process.kill('SIGSTOP');
    const calls = Array.from({ length: 20 }, (_, index) =>
      call(client, 'get_user_details', { user_id: `u${100 + index}` }),
    );
    await eventually(() => sent === 20).finally(() => {
      server.process.kill('SIGCONT');
      unsubscribe('undici:client:sendHeaders', count);
    });
    const results = await Promise.all(calls);
    expect(results.map((result) => result.structuredContent?.id)).toEqual(
      Array.from({ length: 20 }, (_, index) => `u${100 + index}`),
    );
    expect((await metric(server, /^loader_batches_total/)) - before).toBeLessThanOrEqual(2);
  });

  test('an unknown user among known ones fails alone', async () => {
    const [known, unknown] = await Promise.all([
      call(client, 'get_user_details', { user_id: 'u7' }),
      call(client, 'get_user_details', { user_id: 'u700000' }),
    ]);
    expect(known.isError).toBeFalsy();
    expect(errorOf(unknown).code).toBe('ERR_NOT_FOUND');
  });
});

describe('get_org_structure', () => {
  test('lists the units of three levels with their people, and the second call is served from the cache', async () => {
    const first = await call(client, 'get_org_structure');
    const units = first.structuredContent?.units as any[];
    expect(units).toHaveLength(31);
    expect(units[0]).toMatchObject({ id: 'o1', level: 1, parent_id: null });
    expect(units[0].people + units[0].people_below).toBe(5_000);
    const loads = await metric(server, /^cache_loads_total/);
    const second = await call(client, 'get_org_structure');
    expect(second.structuredContent).toEqual(first.structuredContent);
    expect(await metric(server, /^cache_loads_total/)).toBe(loads);
    expect(await metric(server, /^cache_hit_ratio\{.*cache_type="memory"/)).toBeGreaterThan(0);
  });

  test('the whole organisation has six levels and every unit once', async () => {
    const { structuredContent } = await call(client, 'get_org_structure', { depth: 6 });
    const units = structuredContent?.units as any[];
    expect(new Set(units.map((unit) => unit.id)).size).toBe(881);
    expect(Math.max(...units.map((unit) => unit.level))).toBe(6);
  });

  test('an unknown unit is a result that says so, and is not kept', async () => {
    expect(errorOf(await call(client, 'get_org_structure', { root_id: 'o999' })).code).toBe('ERR_NOT_FOUND');
  });

  test.each([[{ depth: 7 }], [{ depth: 0 }], [{ root_id: 'x' }]])('%j is refused by the schema', async (args) => {
    expect(text(await call(client, 'get_org_structure', args))).toMatch(/Invalid arguments/);
  });
});

describe('batch_create_assignments', () => {
  const good = { title: 'Write the report', assignee_id: 'u5' };

  test('creates all and returns the ids in order', async () => {
    const result = await call(client, 'batch_create_assignments', {
      assignments: [good, { ...good, title: 'Check it', priority: 1, due_date: '2026-12-31' }],
    });
    const { created, ids } = result.structuredContent as { created: number; ids: string[] };
    expect(created).toBe(2);
    expect(Number(ids[1])).toBeGreaterThan(Number(ids[0]));
    const { structuredContent } = await call(client, 'get_user_details', { user_id: 'u5' });
    expect(structuredContent?.assignments).toEqual(
      expect.arrayContaining([{ id: ids[1], title: 'Check it', priority: 1 }]),
    );
  });

  test('reports the mistakes of all items with their index, and writes nothing', async () => {
    const before = (await call(client, 'get_user_details', { user_id: 'u6' })).structuredContent?.assignments;
    const result = await call(client, 'batch_create_assignments', {
      assignments: [
        { ...good, assignee_id: 'u6' },
        { title: '', assignee_id: 'u6' },
        'nonsense',
        { ...good, priority: 9, due_date: 'soon' },
      ],
    });
    expect(result.isError).toBe(true);
    expect(errorOf(result).code).toBe('ERR_INVALID_ITEMS');
    for (const part of [
      'assignments[1].title',
      'assignments[2]',
      'assignments[3].priority',
      'assignments[3].due_date',
      '3 of 4',
    ])
      expect(text(result)).toContain(part);
    expect((await call(client, 'get_user_details', { user_id: 'u6' })).structuredContent?.assignments).toEqual(before);
  });

  test('an assignee who does not exist is named with the index, and nothing is written', async () => {
    const result = await call(client, 'batch_create_assignments', {
      assignments: [good, { ...good, assignee_id: 'u987654' }],
    });
    expect(text(result)).toContain('assignments[1].assignee_id: there is no user u987654');
  });

  test.each([[{ assignments: [] }], [{ assignments: 'x' }], [{}]])('%j is refused by the schema', async (args) => {
    expect(text(await call(client, 'batch_create_assignments', args))).toMatch(/Invalid arguments/);
  });
});

describe('fetch_user_data', () => {
  test('fetches many users, and says which failed and why', async () => {
    const { structuredContent } = await call(client, 'fetch_user_data', { user_ids: ['u1', 'u2', 'u2', 'u99999'] });
    expect((structuredContent as any).users.map((user: any) => user.id)).toEqual(['u1', 'u2']);
    expect(structuredContent?.failed).toEqual([{ user_id: 'u99999', reason: expect.stringMatching(/does not know/) }]);
  });

  test('tells how far it is when asked to', async () => {
    const seen: number[] = [];
    await client.callTool({ name: 'fetch_user_data', arguments: { user_ids: ['u1', 'u2', 'u3'] } }, undefined, {
      onprogress: ({ progress, total }) => {
        expect(total).toBe(3);
        seen.push(progress);
      },
    });
    expect(seen).toEqual([1, 2, 3]);
  });

  test.each([[{ user_ids: [] }], [{ user_ids: ['../control'] }], [{ user_ids: Array(101).fill('u1') }]])(
    'bad ids are refused by the schema',
    async (args) => {
      expect(text(await call(client, 'fetch_user_data', args))).toMatch(/Invalid arguments/);
    },
  );
});

describe('fetch_with_limit', () => {
  test('fetches what is allowed, and says of the rest why it failed', async () => {
    const { port } = new URL(server.upstreamUrl);
    const { structuredContent } = await call(client, 'fetch_with_limit', {
      urls: [
        `${server.upstreamUrl}/documents/d1`,
        `${server.upstreamUrl}/nothing`,
        'http://169.254.169.254/latest/meta-data/',
        `http://localhost:${port}/documents/d1`,
        `http://2130706433:${port}/documents/d1`,
        `${server.url.replace('/mcp', '/metrics')}`,
        'https://example.com/',
      ],
    });
    const { fetched, failed } = structuredContent as { fetched: any[]; failed: any[] };
    expect(fetched.map(({ status, text }) => ({ status, text: JSON.parse(text) }))).toMatchObject([
      { status: 200, text: { id: 'd1' } },
      // The URL parser reads 2130706433 as 127.0.0.1, which makes it the allowed origin.
      ...fetched.slice(1).map(() => ({})),
    ]);
    const denied = failed.filter((failure) => failure.code === 'ERR_EGRESS_DENIED').map((failure) => failure.url);
    expect(denied).toEqual(
      expect.arrayContaining([
        'http://169.254.169.254/latest/meta-data/',
        `http://localhost:${port}/documents/d1`,
        'https://example.com/',
      ]),
    );
    expect(denied).toContain(server.url.replace('/mcp', '/metrics'));
  });

  test('however many calls there are, at most 10 URLs are fetched at once', async () => {
    await setUpstream(server, { mode: 'slow', delayMs: 300 });
    const urls = Array.from({ length: 15 }, (_, n) => `${server.upstreamUrl}/documents/d${n + 1}`);
    const calls = [1, 2].map(() => call(client, 'fetch_with_limit', { urls }));
    await eventually(async () => (await metric(server, /^limiter_in_flight\{.*"web-fetches"/)) === 10);
    expect(await metric(server, /^limiter_queued\{.*"web-fetches"/)).toBeGreaterThan(0);
    await setUpstream(server, { mode: 'ok' });
    for (const result of await Promise.all(calls)) expect((result.structuredContent as any).fetched).toHaveLength(15);
  });

  test.each([[{ urls: ['file:///etc/passwd'] }], [{ urls: ['ftp://x'] }], [{ urls: [] }]])(
    '%j is refused by the schema',
    async (args) => {
      expect(text(await call(client, 'fetch_with_limit', args))).toMatch(/Invalid arguments/);
    },
  );
});

describe('call_external_api', () => {
  test('reads an endpoint', async () => {
    expect((await call(client, 'call_external_api', { endpoint: 'exchange-rates' })).structuredContent).toMatchObject({
      data: { base: 'EUR' },
    });
  });

  test('an unknown endpoint is a result that says so, however often, and opens no circuit', async () => {
    for (let index = 0; index < 8; index++) {
      expect(errorOf(await call(client, 'call_external_api', { endpoint: 'nowhere' })).code).toBe('ERR_NOT_FOUND');
    }
    expect((await call(client, 'call_external_api', { endpoint: 'status' })).isError).toBeFalsy();
  });

  test.each([
    [{ endpoint: '../x' }],
    [{ endpoint: '/status' }],
    [{ endpoint: 'a?b=c' }],
    [{ endpoint: '//evil.example' }],
    [{ endpoint: 'a\n' }],
  ])('%j is refused by the schema', async (args) => {
    expect(text(await call(client, 'call_external_api', args))).toMatch(/Invalid arguments/);
  });
});

describe('process_large_dataset', () => {
  test('computes statistics of many numbers', async () => {
    const numbers = Array.from({ length: 50_000 }, (_, index) => index + 1);
    const { structuredContent } = await call(client, 'process_large_dataset', { numbers });
    expect(structuredContent).toMatchObject({
      count: 50_000,
      sum: 1_250_025_000,
      mean: 25_000.5,
      min: 1,
      max: 50_000,
      p50: 25_000,
      p99: 49_500,
    });
  });

  test('numbers whose sum is too large to be a number are a clear failure', async () => {
    const result = await call(client, 'process_large_dataset', { numbers: [1.7e308, 1.7e308] });
    expect(result.isError).toBe(true);
    expect(text(result)).toMatch(/too large/);
  });

  test.each([[{ numbers: [] }], [{ numbers: ['1'] }], [{ numbers: [null] }]])(
    '%j is refused by the schema',
    async (args) => {
      expect(text(await call(client, 'process_large_dataset', args))).toMatch(/Invalid arguments/);
    },
  );
});

test('an unknown tool is refused', async () => {
  expect(text(await call(client, 'drop_tables'))).toMatch(/drop_tables not found/);
});

test('the five metrics of the dashboard are there under their names', async () => {
  const exposition = await (await fetch(new URL('/metrics', server.url))).text();
  for (const name of [
    'tool_execution_duration_seconds',
    'concurrent_requests',
    'queue_depth',
    'cache_hit_ratio',
    'db_connection_pool_size',
  ]) {
    expect(exposition).toMatch(new RegExp(`^# TYPE ${name} `, 'm'));
  }
  expect(exposition).toMatch(/^tool_execution_duration_seconds_count\{tool_name="get_user",status="success"\} [1-9]/m);
  expect(exposition).toMatch(/^db_connection_pool_size(\{.*\})? ([1-9]\d?)$/m);
});
