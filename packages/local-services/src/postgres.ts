import { randomBytes } from 'node:crypto';
import { chown, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import type pg from 'pg';
import { LocalServiceError } from './errors.ts';
import { ExternalService } from './external-service.ts';
import { Guardian, type Owner } from './guardian.ts';
import type { LocalService } from './local-service.ts';
import { OwnedService } from './owned-service.ts';
import { installedBinaries, type PostgresBinaries, runnableBinaries } from './postgres-binaries.ts';
import { complaint, type StartOptions, startOptions } from './start-options.ts';

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

const FIXED_SETTINGS: Record<string, string> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  // Files in the server's own folder instead of /dev/shm, where SIGKILL would leave them.
  dynamic_shared_memory_type: 'mmap',
  // Our own probe and the port's second try look for English words in the log.
  lc_messages: 'C',
  // Of the titles of the processes, see settingArgs.
  update_process_title: 'on',
};

const DEFAULT_SETTINGS: Record<string, string> = {
  // The data need not outlive the machine, so nothing has to reach the disk. They do outlive kill(), and for that
  // synchronous_commit has to stay on: without it the last 200 ms of commits are still in the memory of the server.
  fsync: 'off',
  full_page_writes: 'off',
  shared_buffers: '64MB',
  max_connections: '200',
  io_method: 'sync',
  timezone: 'UTC',
  log_min_messages: 'warning',
  // Statements may hold secrets, and the log's tail is shown in errors.
  log_min_error_statement: 'panic',
};

/**
 * A real PostgreSQL 18: the one named by `DATABASE_URL`, else one of its own, started from the binaries among our
 * dependencies with a random password, on a free port of 127.0.0.1.
 */
export async function startPostgres(options: StartPostgresOptions = {}): Promise<PostgresService> {
  const { external, startTimeoutMs } = startOptions(options);
  const settings = checkedSettings(options.settings ?? {});
  const given = process.env.DATABASE_URL;
  if (external && given) {
    const service = new ExternalPostgres(given);
    await service.verify((url, timeoutMs) => withClient(url, async () => {}, timeoutMs), startTimeoutMs);
    return service;
  }
  const deadline = performance.now() + startTimeoutMs;
  const owner = process.getuid?.() === 0 ? NOBODY : undefined;
  const guardian = await Guardian.open(await reachableTemporaryFolder(owner), 'x-postgres-', owner);
  try {
    const binaries = await runnableBinaries(guardian, await installedBinaries(), owner);
    const password = randomBytes(24).toString('base64url');
    await initialise(guardian, binaries, owner, password, deadline);
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
      }),
      probe: (url, timeoutMs) => withClient(url, (client) => mustBe(client, basename(guardian.folder)), timeoutMs),
      restartSignal: 'SIGINT',
    });
    await service.start(deadline);
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

class ExternalPostgres extends ExternalService implements PostgresService {
  readonly #databases: Map<string, Promise<unknown>> = new Map();
  #disposal: Promise<void> | undefined;

  constructor(url: string) {
    super('DATABASE_URL', url);
  }

  createDatabase(): Promise<string> {
    const name = databaseName();
    const creation = createDatabase(this.url, name);
    this.#databases.set(name, creation);
    return creation;
  }

  override [Symbol.asyncDispose](): Promise<void> {
    this.#disposal ??= this.#drop();
    return this.#disposal;
  }

  async #drop(): Promise<void> {
    await Promise.allSettled(this.#databases.values());
    if (this.#databases.size === 0) return;
    await withClient(this.url, async (client) => {
      for (const name of this.#databases.keys()) await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    });
  }
}

const ENVIRONMENT: Record<string, string> = { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };

async function initialise(
  guardian: Guardian,
  { initdb }: PostgresBinaries,
  owner: Owner | undefined,
  password: string,
  deadline: number,
): Promise<void> {
  const passwordFile = join(guardian.folder, 'password');
  await writeFile(passwordFile, password, { mode: 0o600, flag: 'wx' });
  if (owner) await chown(passwordFile, owner.uid, owner.gid);
  const program = {
    file: initdb,
    args: [
      ...['-D', join(guardian.folder, 'data'), '--username=postgres', `--pwfile=${passwordFile}`],
      ...['--auth=scram-sha-256', '--encoding=UTF8', '--locale=C', '--no-sync', '--no-instructions'],
      // The same order of strings on every machine.
      ...['--locale-provider=builtin', '--builtin-locale=C.UTF-8'],
    ],
    owner,
    env: ENVIRONMENT,
  };
  const { code, output } = await guardian.run(program, Math.max(0, deadline - performance.now()));
  await rm(passwordFile, { force: true });
  if (code === 0) return;
  if (performance.now() >= deadline)
    throw new LocalServiceError('ERR_TIMEOUT', `initdb was not ready in time:\n${output}`);
  throw new LocalServiceError('ERR_START_FAILED', `initdb failed (exit code ${code}):\n${output}`);
}

function settingArgs(guardian: Guardian, port: number, settings: Record<string, string>): string[] {
  // The cluster's name is in the title of each of its processes, by which the guardian knows them.
  const fixed = { ...FIXED_SETTINGS, port: String(port), cluster_name: basename(guardian.folder) };
  return Object.entries({ ...DEFAULT_SETTINGS, ...settings, ...fixed }).flatMap(([name, value]) => [
    '-c',
    `${name}=${value}`,
  ]);
}

function checkedSettings(settings: Record<string, string>): Record<string, string> {
  for (const [name, value] of Object.entries(settings)) {
    if (Object.hasOwn(FIXED_SETTINGS, name) || name === 'port' || name === 'cluster_name') {
      throw new RangeError(complaint('settings', `without ${name}, which is chosen for you`, settings));
    }
    if (typeof value !== 'string') throw new TypeError(complaint(`settings.${name}`, 'a string', value));
  }
  return settings;
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

/** Somebody else's server, on a port that was taken before ours got it, might let everybody in. */
async function mustBe(client: pg.Client, clusterName: string): Promise<void> {
  const { rows } = await client.query<{ cluster_name: string }>('SHOW cluster_name');
  if (rows[0]?.cluster_name !== clusterName) throw new Error('another PostgreSQL answers on this port');
}

async function withClient(
  url: string,
  use: (client: pg.Client) => Promise<unknown>,
  timeoutMs = 30_000,
): Promise<void> {
  // Loaded here, since most tests want Redis alone.
  const { Client } = (await import('pg')).default;
  const client = new Client({ connectionString: url, connectionTimeoutMillis: Math.ceil(timeoutMs) });
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
  // The guardian works elsewhere: a relative TMPDIR would mean another folder there.
  const temporary = resolve(tmpdir());
  if (!owner) return temporary;
  for (const candidate of [temporary, '/tmp']) {
    if (await isReachable(candidate)) return candidate;
  }
  throw new LocalServiceError('ERR_START_FAILED', `neither ${temporary} nor /tmp can be entered by uid ${owner.uid}`);
}

async function isReachable(path: string): Promise<boolean> {
  const { mode } = await stat(path);
  return (mode & 0o001) !== 0 && (path === dirname(path) || (await isReachable(dirname(path))));
}
