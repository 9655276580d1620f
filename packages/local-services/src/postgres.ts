import { randomBytes } from 'node:crypto';
import { chown, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import pg from 'pg';
import { LocalServiceError } from './errors.ts';
import { Guardian, type Owner } from './guardian.ts';
import type { LocalService, StartOptions } from './local-service.ts';
import { OwnedService } from './owned-service.ts';
import { type PostgresBinaries, postgresBinaries } from './postgres-binaries.ts';

export interface StartPostgresOptions extends StartOptions {
  /** Further settings of the server (postgresql.conf), e.g. `{ max_connections: '20' }`. Not for an external server. */
  settings?: Record<string, string> | undefined;
}

export interface PostgresService extends LocalService {
  /** Makes an empty database with a name nobody can guess, and gives its url. Dropped at disposal. */
  createDatabase(): Promise<string>;
}

/** The user `nobody`: PostgreSQL refuses to run as root. */
const NOBODY: Owner = { uid: 65_534, gid: 65_534 };

const SETTINGS: Record<string, string> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  // The data need not outlive the machine, so nothing has to reach the disk. They do outlive kill(), and for that
  // synchronous_commit has to stay on: without it the last 200 ms of commits are still in the memory of the server.
  fsync: 'off',
  full_page_writes: 'off',
  // Files in the server's own folder instead of /dev/shm, where SIGKILL would leave them.
  dynamic_shared_memory_type: 'mmap',
  shared_buffers: '64MB',
  max_connections: '200',
  io_method: 'sync',
  timezone: 'UTC',
  lc_messages: 'C',
  log_min_messages: 'warning',
  // Statements may hold secrets, and the log's tail is shown in errors.
  log_min_error_statement: 'panic',
};

/**
 * A real PostgreSQL 18: the one named by `DATABASE_URL`, else one of its own, started from the binaries among our
 * dependencies with a random password, on a free port of 127.0.0.1.
 */
export async function startPostgres(options: StartPostgresOptions = {}): Promise<PostgresService> {
  const { external = true, startTimeoutMs = 60_000, settings = {} } = options;
  const given = process.env.DATABASE_URL;
  if (external && given) return new ExternalPostgres(given);
  const owner = process.getuid?.() === 0 ? NOBODY : undefined;
  const guardian = await Guardian.open(await reachableTemporaryFolder(owner), 'x-postgres-', owner);
  try {
    const binaries = await postgresBinaries(guardian, owner);
    const password = randomBytes(24).toString('base64url');
    await initialise(guardian, binaries, owner, password);
    const service = new OwnedPostgres(guardian, {
      name: 'PostgreSQL',
      startTimeoutMs,
      url: (port) => `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
      program: async (port) => ({
        file: binaries.postgres,
        args: ['-D', join(guardian.folder, 'data'), ...settingArgs(guardian, port, settings)],
        owner,
        env: ENVIRONMENT,
        stopSignal: 'SIGQUIT',
        lockFile: 'data/postmaster.pid',
      }),
      probe: (url, timeoutMs) => withClient(url, async () => {}, timeoutMs),
      restartSignal: 'SIGINT',
    });
    await service.start();
    return service;
  } catch (error) {
    await guardian.close();
    throw error;
  }
}

class OwnedPostgres extends OwnedService implements PostgresService {
  createDatabase(): Promise<string> {
    return createDatabase(this.url, databaseName());
  }
}

class ExternalPostgres implements PostgresService {
  readonly url: string;
  readonly external = true;
  readonly #names: Set<string> = new Set();
  #disposal: Promise<void> | undefined;

  constructor(url: string) {
    this.url = url;
  }

  kill(): Promise<void> {
    return refuse('kill');
  }

  pause(): Promise<void> {
    return refuse('pause');
  }

  resume(): Promise<void> {
    return refuse('resume');
  }

  restart(): Promise<void> {
    return refuse('restart');
  }

  createDatabase(): Promise<string> {
    const name = databaseName();
    this.#names.add(name);
    return createDatabase(this.url, name);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposal ??= withClient(this.url, async (client) => {
      for (const name of this.#names) await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    });
    return this.#disposal;
  }
}

function refuse(command: string): Promise<never> {
  const message = `cannot ${command} the PostgreSQL of DATABASE_URL: it is not ours (use startPostgres({ external: false }))`;
  return Promise.reject(new LocalServiceError('ERR_EXTERNAL_SERVICE', message));
}

const ENVIRONMENT: Record<string, string> = { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };

async function initialise(
  guardian: Guardian,
  { initdb }: PostgresBinaries,
  owner: Owner | undefined,
  password: string,
): Promise<void> {
  const passwordFile = join(guardian.folder, 'password');
  await writeFile(passwordFile, password, { mode: 0o600 });
  if (owner) await chown(passwordFile, owner.uid, owner.gid);
  const { code, output } = await guardian.run({
    file: initdb,
    args: [
      ...['-D', join(guardian.folder, 'data'), '--username=postgres', `--pwfile=${passwordFile}`],
      ...['--auth=scram-sha-256', '--encoding=UTF8', '--locale=C', '--no-sync', '--no-instructions'],
      // The same order of strings on every machine.
      ...['--locale-provider=builtin', '--builtin-locale=C.UTF-8'],
    ],
    owner,
    env: ENVIRONMENT,
  });
  await rm(passwordFile);
  if (code !== 0) throw new LocalServiceError('ERR_START_FAILED', `initdb failed (exit code ${code}):\n${output}`);
}

function settingArgs(guardian: Guardian, port: number, settings: Record<string, string>): string[] {
  // The cluster's name is in the title of each of its processes, by which the guardian knows them.
  const all = { ...SETTINGS, ...settings, port: String(port), cluster_name: basename(guardian.folder) };
  return Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

function databaseName(): string {
  return `db_${randomBytes(12).toString('hex')}`;
}

async function createDatabase(serverUrl: string, name: string): Promise<string> {
  await withClient(serverUrl, (client) => client.query(`CREATE DATABASE ${name} TEMPLATE template0`));
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}

async function withClient(
  url: string,
  use: (client: pg.Client) => Promise<unknown>,
  timeoutMs = 30_000,
): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: Math.ceil(timeoutMs) });
  // The server may be killed at any moment: the query tells, and this event must not end the process.
  client.on('error', () => {});
  try {
    await client.connect();
    await use(client);
  } finally {
    await client.end().catch(() => {});
  }
}

/** The temporary folder, or /tmp if that user cannot get there (a TMPDIR below /root). */
async function reachableTemporaryFolder(owner: Owner | undefined): Promise<string> {
  if (!owner) return tmpdir();
  for (const candidate of [tmpdir(), '/tmp']) {
    if (await isReachable(resolve(candidate))) return candidate;
  }
  throw new LocalServiceError('ERR_START_FAILED', `neither ${tmpdir()} nor /tmp can be entered by uid ${owner.uid}`);
}

async function isReachable(path: string): Promise<boolean> {
  const { mode } = await stat(path);
  return (mode & 0o001) !== 0 && (path === dirname(path) || (await isReachable(dirname(path))));
}
