import { statSync } from 'node:fs';
import { connect } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type PostgresService, startPostgres } from '@x/local-services';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { descendants, until } from './processes.ts';

// A server is slow to start on a busy machine.
vi.setConfig({ testTimeout: 60_000 });

let service: PostgresService;
beforeAll(async () => {
  service = await startPostgres({ external: false });
});
afterAll(() => service[Symbol.asyncDispose]());

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

function dial(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, host, () => {
      socket.destroy();
      resolve('connected');
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

describe('a PostgreSQL of our own', () => {
  it('answers at its url', async () => {
    const [row] = await query(service.url, "SELECT current_setting('server_version_num')::int AS version");
    expect(row?.version).toBeGreaterThanOrEqual(180_000);
    expect(service.external).toBe(false);
  });

  it('refuses a wrong password, and none', async () => {
    const url = new URL(service.url);
    url.password = 'wrong';
    await expect(query(url.href, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
    url.password = '';
    await expect(query(url.href, 'SELECT 1')).rejects.toThrow(/password/);
  });

  it('keeps passwords as SCRAM verifiers', async () => {
    const [row] = await query(service.url, "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'");
    expect(row?.rolpassword).toMatch(/^SCRAM-SHA-256\$/);
  });

  it('listens on loopback only, and on no Unix socket', async () => {
    const { hostname, port } = new URL(service.url);
    expect(hostname).toBe('127.0.0.1');
    const [row] = await query(
      service.url,
      "SELECT current_setting('listen_addresses') AS tcp, current_setting('unix_socket_directories') AS unix",
    );
    expect(row).toEqual({ tcp: '127.0.0.1', unix: '' });
    for (const { address, internal, family } of Object.values(networkInterfaces()).flatMap((list) => list ?? [])) {
      if (!internal && family === 'IPv4') expect(await dial(address, Number(port))).toBe('ECONNREFUSED');
    }
  });

  it('lives in a folder that only its owner can enter', async () => {
    const [row] = await query(service.url, "SELECT current_setting('data_directory') AS data");
    const data = String(row?.data);
    expect(data.startsWith(join(tmpdir(), 'x-postgres-'))).toBe(true);
    expect(statSync(data).mode & 0o777).toBe(0o700);
    expect(statSync(join(data, '..')).mode & 0o777).toBe(0o700);
  });

  it.runIf(process.platform === 'linux')('shows its password to no other user of the machine', () => {
    const { password } = new URL(service.url);
    const commands = descendants(process.pid).map(({ command }) => command);
    expect(commands.some((command) => command.includes('postgres'))).toBe(true);
    expect(commands.join('\n')).not.toContain(password);
  });

  it('gives databases that know nothing of each other', async () => {
    const [one, two] = await Promise.all([service.createDatabase(), service.createDatabase()]);
    expect(one).not.toBe(two);
    await query(one, 'CREATE TABLE kept (n int)');
    await query(one, 'CREATE TABLE kept_too (n int)');
    expect(await query(two, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).toEqual([]);
    expect(await query(one, "SELECT count(*)::int AS n FROM pg_tables WHERE schemaname = 'public'")).toEqual([
      { n: 2 },
    ]);
  });

  it('is gone at once when killed, and comes back at the same url with all that was committed', async () => {
    const { url } = service;
    const database = await service.createDatabase();
    await query(database, 'CREATE TABLE kept AS SELECT 1 AS n');
    const client = new pg.Client({ connectionString: database });
    await client.connect();
    const ended = new Promise((resolve) => client.once('error', resolve));
    // Busy, so that it does not look whether its parent is still there.
    const busy = client.query('SELECT count(*) FROM generate_series(1, 1e10)').catch((error: Error) => error.message);
    await service.kill();
    await service.kill();
    expect(await busy).toMatch(/terminated|ECONNRESET/);
    await ended;
    await expect(query(url, 'SELECT 1')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await expect(service.pause()).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' });
    await expect(service.resume()).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' });
    await service.restart();
    expect(service.url).toBe(url);
    expect(await query(database, 'SELECT n FROM kept')).toEqual([{ n: 1 }]);
  });

  it('restarts while it runs, keeping its data', async () => {
    const database = await service.createDatabase();
    await query(database, 'CREATE TABLE kept AS SELECT 2 AS n');
    await service.restart();
    expect(await query(database, 'SELECT n FROM kept')).toEqual([{ n: 2 }]);
  });

  it('answers nobody while paused, and everybody afterwards', async () => {
    const client = new pg.Client({ connectionString: service.url });
    await client.connect();
    await service.pause();
    let answered = false;
    const answer = client.query('SELECT 1').then(() => {
      answered = true;
    });
    // A new connection is taken by the kernel, and gets no answer either.
    const { port } = new URL(service.url);
    const socket = connect(Number(port), '127.0.0.1');
    await new Promise((resolve) => socket.once('connect', resolve));
    expect(answered).toBe(false);
    await service.resume();
    await answer;
    socket.destroy();
    await client.end();
  });

  it('restarts and is killed while paused', async () => {
    await service.pause();
    await service.restart();
    await service.pause();
    await service.kill();
    await service.restart();
    expect(await query(service.url, 'SELECT 1 AS n')).toEqual([{ n: 1 }]);
  });

  it.runIf(process.platform === 'linux')(
    'comes back when its main process alone was killed by somebody else',
    async () => {
      const client = new pg.Client({ connectionString: service.url });
      client.on('error', () => {});
      await client.connect();
      const busy = client.query('SELECT count(*) FROM generate_series(1, 1e10)').catch((error: Error) => error.message);
      const main = descendants(process.pid).find(({ command }) => /postgres -D/.test(command));
      process.kill(main!.pid, 'SIGKILL');
      await until(() =>
        service.pause().then(
          () => false,
          () => true,
        ),
      );
      await service.restart();
      expect(await busy).toMatch(/terminat|ECONNRESET/);
      expect(await query(service.url, 'SELECT 1 AS n')).toEqual([{ n: 1 }]);
    },
  );

  it('runs beside a second one, which takes no command after its disposal', async () => {
    const second = await startPostgres({ external: false, settings: { max_connections: '7' } });
    expect(second.url).not.toBe(service.url);
    expect(await query(second.url, 'SHOW max_connections')).toEqual([{ max_connections: '7' }]);
    await second.kill();
    expect(await query(service.url, 'SHOW max_connections')).toEqual([{ max_connections: '200' }]);
    const restarting = second.restart();
    const disposed = second[Symbol.asyncDispose]();
    await restarting.catch(() => {});
    await disposed;
    await second[Symbol.asyncDispose]();
    await expect(second.restart()).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    await expect(query(second.url, 'SELECT 1')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});
