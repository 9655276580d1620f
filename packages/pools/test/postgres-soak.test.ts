import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { startPostgres } from '@x/local-services';
import { PostgresPool } from '@x/pools/postgres';
import { TcpProxy } from '@x/testkit';
import pg from 'pg';
import { afterAll, expect, test } from 'vitest';
import { AuditedPool } from './audited-pool.ts';

// In CI a few seconds; `pnpm soak:postgres` sets how many operations, and where the report goes.
const operations = Number(process.env.SOAK_OPERATIONS ?? 3_000);
const report = process.env.SOAK_REPORT;
const isLong = operations >= 50_000;
const slices = 10;
const strikesInSlice = isLong ? 5 : 1;
const lines: string[] = [];

// Memory that is used and memory that is not collected yet look alike.
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const pick = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)] as T;
const later = (ms: number): Promise<unknown> => new Promise((resolve) => setTimeout(resolve, ms));

function abortSoon(): AbortSignal {
  const controller = new AbortController();
  setTimeout(() => controller.abort('gone'), Math.random() * 10);
  return controller.signal;
}

afterAll(() => {
  if (report === undefined) return;
  mkdirSync(dirname(report), { recursive: true });
  writeFileSync(report, lines.join('\n'));
});

test(
  `PostgresPool: ${operations} operations with random faults leave nothing behind`,
  async () => {
    await using server = await startPostgres({ external: false });
    await using proxy = await TcpProxy.start(server.url);
    await using audited = new AuditedPool(
      {
        connectionString: proxy.through(server.url),
        minSize: 4,
        maxSize: 10,
        maxUses: 500,
        commandTimeoutMs: 1_000,
        connectTimeoutMs: 1_000,
        cancelTimeoutMs: 500,
        acquireTimeoutMs: 2_000,
      },
      server.url,
    );
    const { pool } = audited;
    await pool.start();
    await pool.query('create table written (n int primary key); create table many (n int, t text)');
    const odd: unknown[] = [];
    /** Transactions that are known to be committed, and those of which only the server knows. */
    const committed = new Set<number>();
    const doubtful = new Set<number>();
    let notified = 0;

    const read = async (n: number, options = {}): Promise<void> => {
      const row = await pool.fetchOne<{ n: number }>('select $1::int as n', [n], options);
      if (row?.n !== n) odd.push(`asked for ${n}, got ${row?.n}`);
    };
    const write = async (
      n: number,
      options = {},
      more?: (tx: { query: PostgresPool['query'] }) => Promise<unknown>,
    ) => {
      try {
        await pool.transaction(async (tx) => {
          await tx.query('insert into written values ($1)', [n]);
          await more?.(tx as never);
        }, options);
        committed.add(n);
      } catch (error) {
        if (error === 'gone' || (error as { code?: unknown }).code === 'ERR_COMMIT_UNKNOWN') doubtful.add(n);
        throw error;
      }
    };
    const stream = async (take: number, options = {}): Promise<void> => {
      let n = 0;
      const rows = pool.stream<{ n: number }>('select n from generate_series(1, 3000) n', [], options);
      for await (const row of rows) {
        if (row.n !== ++n) odd.push(`row ${n} is ${row.n}`);
        if (n === take) break;
      }
    };
    const shared = { lane: 'shared' as const };
    const calls: ((n: number) => Promise<unknown>)[] = [
      (n) => read(n),
      (n) => read(n, { name: 'read', idempotent: true }),
      (n) => read(n, shared),
      (n) => read(n, { ...shared, signal: abortSoon() }),
      (n) => pool.query(`select ${n} / 0`),
      () => pool.query('select 1 from nowhere', [], shared),
      () => pool.query('select $1::int, $2::int', [1]),
      () => pool.query('select pg_sleep(0.005)', [], { signal: abortSoon() }),
      () => pool.query('select pg_sleep(0.03)', [], { timeoutMs: 1 + Math.random() * 20 }),
      () => pool.query('select pg_sleep(0.03)', [], { ...shared, timeoutMs: 1 + Math.random() * 40 }),
      (n) => write(n),
      (n) => write(n, { signal: abortSoon() }, (tx) => tx.query('select pg_sleep(0.005)')),
      (n) => write(n, {}, () => Promise.reject(Object.assign(new Error('mine'), { code: 'MINE' }))),
      (n) => write(n, {}, (tx) => tx.query('select 1/0').catch(() => {})),
      (n) => write(n, { isolation: 'serializable', retries: 2 }, (tx) => tx.query('select max(n) from written')),
      () => pool.withConnection((session) => session.query('begin'), { signal: abortSoon() }),
      () => pool.withConnection((session) => session.query("set work_mem = '1MB'; select pg_advisory_lock(1)")),
      () => stream(5_000),
      () => stream(10),
      () => stream(5_000, { signal: abortSoon(), batchSize: 100 }),
      (n) =>
        pool.insertMany(
          'many',
          ['n', 't'],
          Array.from({ length: 50 }, () => [n, 'x'.repeat(100)]),
        ),
      (n) => pool.insertMany('many', ['n'], [[n], [n + 1]], { returning: ['n'], signal: abortSoon() }),
      async () => {
        using client = await pool.connect({ signal: abortSoon() });
        await client.query('select 1');
      },
      () => pool.query(`select pg_notify('soak', 'news')`),
      async () => {
        const subscription = await pool.listen(`soak${Math.floor(Math.random() * 3)}`, () => {}, {
          signal: abortSoon(),
        });
        await later(2);
        await subscription.close();
      },
    ];
    const rare: ((n: number) => Promise<unknown>)[] = [
      () => pool.query('select pg_terminate_backend(pg_backend_pid())'),
      () => pool.query('select pg_terminate_backend(pg_backend_pid())', [], shared),
      (n) => write(n, {}, (tx) => tx.query('select pg_terminate_backend(pg_backend_pid())')),
    ];
    /** After a disaster the server may need a while until it can be asked anything. */
    const onceUp = async (strike: () => Promise<unknown>): Promise<unknown> => {
      for (;;) {
        try {
          return await strike();
        } catch {
          await later(20);
        }
      }
    };
    const disasters: [string, () => Promise<unknown>][] = [
      ['restart', () => server.restart()],
      ['kill -9', () => server.kill().then(() => server.restart())],
      ['kill -9 of a backend', () => onceUp(async () => process.kill(pick(await audited.backends()).pid, 'SIGKILL'))],
      ['terminate all', () => onceUp(() => audited.terminateAll())],
      ['reset', async () => proxy.resetAll()],
      [
        'SIGSTOP',
        () =>
          server
            .pause()
            .then(() => later(1_500))
            .finally(() => server.resume()),
      ],
      [
        'black hole',
        async () => {
          proxy.faults.blackHole = true;
          await later(1_200);
          proxy.faults.blackHole = false;
          proxy.resetAll();
        },
      ],
    ];
    await pool.listen('soak', () => notified++);

    const outcomes: Record<string, number> = {};
    let done = 0;
    const caller = async (): Promise<void> => {
      while (done < operations) {
        const n = done++;
        const call = n % 50 === 0 ? pick(rare) : pick(calls);
        const outcome = await call(n).then(
          () => 'ok',
          (error: unknown) => {
            if (error === 'gone') return 'aborted';
            const { code } = error as { code?: unknown };
            if (typeof code !== 'string') odd.push(error);
            return String(code);
          },
        );
        outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
        // While the server is away, an error takes no time.
        if (/^(ERR_UNREACHABLE|ERR_CONNECT_FAILED|57P03)$/.test(outcome)) await later(5);
      }
    };
    const struck: Record<string, number> = {};
    const memory: number[] = [];
    const handles: number[] = [];
    const backends: number[] = [];
    const callers = Array.from({ length: 30 }, caller);
    for (let slice = 1; slice <= slices; slice++) {
      for (let n = 0; n < strikesInSlice; n++) {
        while (done < (operations * (slice - 1 + (n + 0.5) / strikesInSlice)) / slices) await later(5);
        const [name, strike] = disasters[(slice * strikesInSlice + n) % disasters.length] as (typeof disasters)[0];
        struck[name] = (struck[name] ?? 0) + 1;
        await strike();
      }
      while (done < (operations * slice) / slices - 1) await later(5);
      collect();
      memory.push(process.memoryUsage().heapUsed);
      handles.push(process.getActiveResourcesInfo().length);
      backends.push((await audited.backends().catch(() => [])).length);
      expect(pool.stats().size).toBeLessThanOrEqual(10);
    }
    await Promise.all(callers);
    expect(odd).toEqual([]);
    await expect
      .poll(
        () =>
          read(1).then(
            () => 'ok',
            (error) => error,
          ),
        { timeout: 5_000 },
      )
      .toBe('ok');
    // The listener has one connection as long as somebody listens.
    await expect.poll(() => pool.stats(), { timeout: 5_000 }).toMatchObject({ inUse: 1, waiting: 0 });
    const before = notified;
    await pool.query(`select pg_notify('soak', 'the end')`);
    await expect.poll(() => notified).toBeGreaterThan(before);

    const found = new Set((await pool.fetch<{ n: number }>('select n from written')).map(({ n }) => n));
    expect([...committed].filter((n) => !found.has(n))).toEqual([]);
    expect([...found].filter((n) => !committed.has(n) && !doubtful.has(n))).toEqual([]);
    const left = `select (select count(*)::int from pg_locks where locktype = 'advisory') as locks,
      (select count(*)::int from pg_stat_activity where state like 'idle in transaction%') as transactions`;
    await expect.poll(() => pool.fetchOne(left)).toEqual({ locks: 0, transactions: 0 });
    const { created, destroyed, sharedMoves } = pool.stats();
    await pool.close();
    await audited.expectInOrder();
    expect(audited.sockets).toBe(0);

    const flat = (values: number[]) => Math.min(...values.slice(slices / 2));
    // Halves of a short run say nothing of leaks.
    if (isLong) {
      expect(flat(memory)).toBeLessThan(Math.min(...memory.slice(1, slices / 2)) * 1.25 + 16_000_000);
      expect(flat(handles)).toBeLessThan(Math.min(...handles.slice(1, slices / 2)) * 1.25 + 20);
    }
    lines.push(
      '# Soak of PostgresPool',
      '',
      `${operations} operations by 30 callers over 10 connections with random faults (\`pnpm --filter @x/pools soak:postgres\`): queries, errors, named`,
      'statements, the shared lane, transactions that commit, fail, are swallowed, killed or left, sessions that leave locks and settings behind, streams',
      'read, left and aborted, `insertMany`, `connect()`, LISTEN, aborts, time-outs, backends that end themselves; and disasters.',
      '',
      `Node ${process.versions.node}, PostgreSQL 18. **Every invariant held**: no crash, every error has a code, every answer is that of its question, what was said to be`,
      'committed is there and what was said to have failed is not, no lock and no open transaction is left, notifications arrive in the end, 10 connections',
      'at most, and after the close no socket in the process and no backend on the server.',
      '',
      '| measured | |',
      '|---|---|',
      `| disasters | ${Object.entries(struck)
        .map((entry) => entry.join(': '))
        .join(', ')} |`,
      `| heap in MB after each tenth, collected | ${memory.map((bytes) => (bytes / 1e6).toFixed(0)).join(', ')} |`,
      `| active resources after each tenth | ${handles.join(', ')} |`,
      `| backends after each tenth | ${backends.join(', ')} |`,
      `| connections made; closed by reason | ${created}; ${JSON.stringify(destroyed)} |`,
      `| transactions committed; in doubt | ${committed.size}; ${doubtful.size} |`,
      `| statements of the shared lane sent again | ${sharedMoves} |`,
      ...Object.entries(outcomes)
        .sort(([, a], [, b]) => b - a)
        .map(([outcome, n]) => `| ${outcome} | ${n} |`),
      '',
    );
  },
  isLong ? 1_200_000 : 40_000,
);

test(
  'the cancel of a query never hits the one after it',
  async () => {
    const trials = isLong ? 1_500 : 100;
    await using server = await startPostgres();
    const next = 'select pg_sleep(0.002)';
    await using pool = new PostgresPool({ connectionString: server.url, minSize: 1, maxSize: 1 });
    await pool.start();
    let hits = 0;
    let cancelled = 0;
    for (let trial = 0; trial < trials; trial++) {
      const controller = new AbortController();
      const first = pool.query('select pg_sleep(0.001)', [], { signal: controller.signal });
      setTimeout(() => controller.abort('gone'), trial % 3);
      await first.catch(() => cancelled++);
      await pool.query(next).catch(() => hits++);
    }
    expect(hits).toBe(0);
    expect(cancelled).toBeGreaterThan(trials / 10);
    expect(pool.stats()).toMatchObject({ created: 1, destroyed: {} });
    if (!isLong) return;

    // The same without the wait for the cancel request's connection to close, to see that the trial would tell.
    const client = new pg.Client(server.url);
    await client.connect();
    let naiveHits = 0;
    for (let trial = 0; trial < trials; trial++) {
      const first = client.query('select pg_sleep(0.001)').catch(() => {});
      await later(trial % 3);
      const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
      const socket = new pg.Connection({}) as unknown as NodeJS.EventEmitter & {
        connect(port: number, host: string): void;
        cancel(processID: number, secretKey: number): void;
      };
      const sent = new Promise((resolve) =>
        socket.on('connect', () => {
          socket.cancel(processID, secretKey);
          resolve(undefined);
        }),
      );
      socket.on('error', () => {});
      socket.connect(client.port, client.host);
      await Promise.all([first, sent]);
      await client.query(next).catch(() => naiveHits++);
    }
    await client.end();
    expect(naiveHits).toBeGreaterThan(0);
    lines.push(
      '## The cancel gate',
      '',
      `A query is aborted, and another follows on the same connection at once. Hit by the cancel of the one before: **${hits} of ${trials}** (${cancelled} were`,
      `cancelled), over one connection that was never dropped. Sending the cancel request without waiting for its connection to close: ${naiveHits} of ${trials}.`,
      '',
    );
  },
  isLong ? 300_000 : 20_000,
);
