import { chmod, chown, copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type PostgresService, startPostgres } from '@x/local-services';
import { PostgresPool, type PostgresPoolOptions } from '@x/pools/postgres';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

const fixture = (name: string) => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));
let folder: string;
let ca: string;
let server: PostgresService;
let url: string;
let admin: pg.Client;
const pools: PostgresPool[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'x-pools-tls-'));
  const files = { ssl_cert_file: join(folder, 'cert.pem'), ssl_key_file: join(folder, 'key.pem') };
  await copyFile(fixture('localhost.cert.pem'), files.ssl_cert_file);
  await copyFile(fixture('localhost.key.pem'), files.ssl_key_file);
  // PostgreSQL takes a key that is its user's alone; as root the server runs as nobody.
  await chmod(files.ssl_key_file, 0o600);
  if (process.getuid?.() === 0) for (const path of [folder, ...Object.values(files)]) await chown(path, 65_534, 65_534);
  server = await startPostgres({ external: false, settings: { ssl: 'on', ...files } });
  url = await server.createDatabase();
  ca = await readFile(fixture('localhost.cert.pem'), 'utf8');
  admin = new pg.Client({ connectionString: url });
  await admin.connect();
});
afterAll(async () => {
  await admin?.end();
  await server?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close({ timeoutMs: 0 })));
});

function open(connection: pg.ClientConfig, options: PostgresPoolOptions = {}): PostgresPool {
  const pool = new PostgresPool({ connectionString: url, connection, minSize: 1, maxSize: 2, ...options });
  pools.push(pool);
  return pool;
}
const encrypted = 'select ssl, version from pg_stat_ssl where pid = pg_backend_pid()';
const terminateOthers = () =>
  admin.query(
    'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
  );

describe('over TLS', () => {
  for (const sslNegotiation of ['postgres', 'direct'] as const) {
    it(`queries are encrypted, stop on the server, and share a connection (${sslNegotiation} negotiation)`, async () => {
      const pool = open({ ssl: { ca }, sslnegotiation: sslNegotiation } as pg.ClientConfig);
      await pool.start();
      expect(await pool.fetchOne(encrypted)).toEqual({ ssl: true, version: 'TLSv1.3' });
      await expect(pool.query('select pg_sleep(60)', [], { timeoutMs: 50 })).rejects.toMatchObject({
        code: 'ERR_TIMEOUT',
      });
      // The cancel request went over TLS as well: the same connection is idle again, not dropped.
      await expect.poll(() => pool.stats()).toMatchObject({ idle: 1, destroyed: {} });
      const reads = Array.from({ length: 50 }, (_, n) =>
        pool.fetchOne<{ n: number }>('select $1::int as n', [n], { lane: 'shared' }),
      );
      expect((await Promise.all(reads)).map((row) => row?.n)).toEqual([...Array(50).keys()]);
    });
  }

  it('a server whose certificate is not trusted, or that has none, is refused', async () => {
    const stranger = open({ ssl: true });
    await expect(stranger.start()).rejects.toMatchObject({
      code: 'ERR_CONNECT_FAILED',
      cause: { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' },
    });
    await using plain = await startPostgres({ external: false });
    const unencrypted = open({ ssl: { ca } }, { connectionString: plain.url });
    await expect(unencrypted.start()).rejects.toMatchObject({
      code: 'ERR_CONNECT_FAILED',
      cause: { message: expect.stringContaining('does not support SSL') },
    });
  });
});

describe('a connection string and fields together', () => {
  it('are one: the fields win, what they do not say is taken from the string', async () => {
    const named = new URL(url);
    named.password = 'not the password';
    named.searchParams.set('application_name', 'from the string');
    named.searchParams.set('options', '-c statement_timeout=1234');
    const pool = open(
      { password: decodeURIComponent(new URL(url).password), ssl: { ca } },
      { connectionString: named.href },
    );
    await pool.start();
    const settings = `select current_setting('application_name') as name, current_setting('statement_timeout') as timeout`;
    expect(await pool.fetchOne(settings)).toEqual({ name: 'from the string', timeout: '1234ms' });
    expect(await pool.fetchOne(encrypted)).toMatchObject({ ssl: true });
    const plain = open({ application_name: 'field' }, { connectionString: url });
    expect(await plain.fetchOne(settings)).toMatchObject({ name: 'field' });
  });
});

describe('a password that rotates', () => {
  it('is asked for at each connection: the pool outlives the old one', async () => {
    let password = 'first secret';
    await admin.query(`create role rotating login password '${password}'`);
    let asked = 0;
    const { port, hostname, pathname } = new URL(url);
    const pool = open(
      {
        host: hostname,
        port: Number(port),
        database: pathname.slice(1),
        user: 'rotating',
        ssl: { ca },
        password: async () => {
          asked++;
          return password;
        },
      },
      { connectionString: undefined, minSize: 2 },
    );
    await pool.start();
    expect(asked).toBe(2);
    password = 'second secret';
    await admin.query(`alter role rotating password '${password}'`);
    expect(await pool.fetchOne('select current_user as me')).toEqual({ me: 'rotating' });
    await terminateOthers();
    await expect.poll(() => pool.stats(), { timeout: 5_000 }).toMatchObject({ size: 2, destroyed: { broken: 2 } });
    expect(asked).toBeGreaterThanOrEqual(4);
    expect(await pool.fetchOne('select current_user as me')).toEqual({ me: 'rotating' });

    await admin.query(`alter role rotating password 'a third secret'`);
    await terminateOthers();
    await expect.poll(() => pool.stats().size).toBe(0);
    const refused = await pool.query('select 1').catch((error) => error);
    expect(refused).toMatchObject({ code: 'ERR_AUTHENTICATION', sqlState: '28P01' });
    expect(String(refused.stack)).not.toMatch(/secret/);
    password = 'a third secret';
    await expect
      .poll(() => pool.fetchOne('select 1 as one').catch(() => undefined), { timeout: 5_000 })
      .toEqual({ one: 1 });
  });

  it('that cannot be had is an error without the secret', async () => {
    const pool = open({
      password: () => {
        throw new Error('the vault is sealed');
      },
    });
    await expect(pool.start()).rejects.toMatchObject({
      code: 'ERR_CONNECT_FAILED',
      cause: { message: 'the vault is sealed' },
    });
  });
});
