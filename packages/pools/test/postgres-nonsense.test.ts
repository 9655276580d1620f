import { inspect } from 'node:util';
import { PostgresPool, type PostgresPoolOptions } from '@x/pools/postgres';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FakePostgres, int16, message, refusal, welcome } from './fake-postgres.ts';

// A crash would be an uncaught exception, which fails the run.

const open = (fake: FakePostgres, options: PostgresPoolOptions = {}) =>
  new PostgresPool({
    connectionString: fake.url,
    minSize: 0,
    maxSize: 1,
    connectTimeoutMs: 100,
    commandTimeoutMs: 100,
    cancelTimeoutMs: 50,
    ...options,
  });

describe('instead of a login', () => {
  const answers: [string, Buffer, string][] = [
    ['HTTP', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), 'ERR_CONNECT_TIMEOUT'],
    ['SSH', Buffer.from('SSH-2.0-OpenSSH_9.6\r\n'), 'ERR_CONNECT_TIMEOUT'],
    ['Redis', Buffer.from("-ERR unknown command '\r\n"), 'ERR_CONNECT_TIMEOUT'],
    ['MySQL', Buffer.from('4a0000000a382e302e3100', 'hex'), 'ERR_CONNECT_FAILED'],
    ['zeros', Buffer.alloc(64), 'ERR_CONNECT_FAILED'],
    ['a way to log in that pg does not know (GSSAPI)', message('R', 7), 'ERR_CONNECT_FAILED'],
    ['a message cut short', message('R'), 'ERR_CONNECT_FAILED'],
    ['a mechanism nobody has', message('R', 10, 'NONE\0\0'), 'ERR_CONNECT_FAILED'],
    ['a row', message('D', int16(1), 1, 'x'), 'ERR_CONNECT_FAILED'],
    ['57P03, starting up', refusal('FATAL', '57P03'), 'ERR_UNREACHABLE'],
    ['57P01, shutting down', refusal('FATAL', '57P01'), 'ERR_UNREACHABLE'],
    ['57P02, crashing', refusal('FATAL', '57P02'), 'ERR_UNREACHABLE'],
    ['53300, too many', refusal('FATAL', '53300'), 'ERR_TOO_MANY_CONNECTIONS'],
    ['28000, no entry in pg_hba.conf', refusal('FATAL', '28000'), 'ERR_AUTHENTICATION'],
    ['another refusal', refusal('FATAL', '0A000'), 'ERR_CONNECT_FAILED'],
  ];
  for (const [what, answer, code] of answers) {
    it(`${what}: ${code}, and no connection is left`, async () => {
      for (const hangUp of [false, true]) {
        await using fake = await FakePostgres.start((socket) => (hangUp ? socket.end(answer) : socket.write(answer)));
        await using pool = open(fake, { minSize: 2, maxSize: 2 });
        const error: unknown = await pool.start().catch((reason: unknown) => reason);
        const cut = hangUp && code === 'ERR_CONNECT_TIMEOUT';
        expect(error).toMatchObject({ code: cut ? 'ERR_CONNECT_FAILED' : code });
        expect(inspect(error, { depth: 9, showHidden: true })).not.toContain('secret');
        expect(pool.stats()).toMatchObject({ size: 0, waiting: 0 });
        await expect.poll(() => fake.sockets.size).toBe(0);
      }
    });
  }

  it('a demand for an MD5 password, where that cannot be made, is told at once', async () => {
    await using fake = await FakePostgres.start((socket) => socket.write(message('R', 5, 'salt')));
    // pg tells of this by an event only, as it does where MD5 is forbidden (FIPS).
    const password = Object.create(null) as string;
    await using pool = open(fake, { connection: { password }, connectTimeoutMs: 60_000 });
    await expect(pool.start()).rejects.toMatchObject({ code: 'ERR_CONNECT_FAILED' });
    await expect.poll(() => fake.sockets.size).toBe(0);
  });
});

describe('instead of a result', () => {
  const answers: [string, Buffer, string][] = [
    ['nothing', Buffer.alloc(0), 'ERR_TIMEOUT'],
    ['HTTP', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), 'ERR_TIMEOUT'],
    ['zeros', Buffer.alloc(64), 'ERR_CONNECTION_LOST'],
    ['columns cut short', message('T', int16(3)), 'ERR_CONNECTION_LOST'],
    ['a row cut short', message('D', int16(500)), 'ERR_CONNECTION_LOST'],
    ['a login', message('R', 99), 'ERR_CONNECTION_LOST'],
    ['a login that has ended', message('R', 12, 'v=x'), 'ERR_CONNECTION_LOST'],
    ['57P01, shutting down', refusal('FATAL', '57P01'), '57P01'],
  ];
  for (const [what, answer, code] of answers) {
    it(`${what}: ${code}, and the connection is dropped`, async () => {
      for (const hangUp of [false, true]) {
        await using fake = await FakePostgres.start((socket, n) => {
          if (n === 0) socket.write(welcome);
          else if (hangUp) socket.end(answer);
          else socket.write(answer);
        });
        await using pool = open(fake);
        const expected = hangUp && code === 'ERR_TIMEOUT' ? 'ERR_CONNECTION_LOST' : code;
        await expect(pool.query('select $1::int', [1])).rejects.toMatchObject({ code: expected });
        await expect.poll(() => pool.stats()).toMatchObject({ size: 0, inUse: 0, destroyed: { broken: 1 } });
        await expect.poll(() => fake.sockets.size).toBe(0);
      }
    });
  }

  it('a result whose connection is reset in the middle is one error, not the rows so far', async () => {
    const columns = message('T', int16(1), 'n\0', 0, int16(0), 23, int16(4), -1, int16(0));
    await using fake = await FakePostgres.start((socket, n) => {
      if (n === 0) socket.write(welcome);
      else socket.write(Buffer.concat([columns, message('D', int16(1), 1, '7')]), () => socket.resetAndDestroy());
    });
    await using pool = open(fake, { commandTimeoutMs: 30_000 });
    await expect(pool.query('select 7 as n')).rejects.toMatchObject({
      code: 'ERR_CONNECTION_LOST',
      sqlState: '08006',
    });
    await expect(pool.query('select 7 as n', [], { idempotent: true })).rejects.toMatchObject({
      code: 'ERR_CONNECTION_LOST',
    });
    await expect.poll(() => pool.stats()).toMatchObject({ size: 0, destroyed: { broken: 3 } });
  });

  it('messages with any bytes in them are an error or a result within the time, never a crash', async () => {
    // Without E and N: pg reads an error to its terminating zero, and where there is none, for ever.
    const kind = fc.constantFrom(...'123ACDGHIKRSTVWZcdnst', 'x', '\0');
    const messages = fc.array(fc.tuple(kind, fc.uint8Array({ maxLength: 40 })), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(messages, fc.boolean(), async (parts, afterLogin) => {
        const bytes = Buffer.concat(parts.map(([kind, body]) => message(kind, Buffer.from(body))));
        await using fake = await FakePostgres.start((socket, n) => {
          if (n === 0 && afterLogin) socket.write(welcome);
          else socket.end(bytes);
        });
        await using pool = open(fake);
        await pool.query('select 1').catch((error) => {
          // pg may take it for a result, or for one whose row it cannot read.
          if (!(error instanceof TypeError || error instanceof RangeError)) expect(error.code).toMatch(/^ERR_/);
        });
      }),
      { numRuns: 300 },
    );
  });
});
