import { inspect } from 'node:util';
import { PostgresPool } from '@x/pools/postgres';
import { expect, test } from 'vitest';
import { ownDatabase } from '../own-database.ts';

// Arguments and options of the wrong kind gave errors of the language ("Cannot read properties of null"), hung, or were ignored.

const open = ownDatabase();
const wrong = <T>(value: unknown): T => value as T;
const signals = [null, 'now', {}, new AbortController()];

test('options that are none are refused in words, and without their secrets', () => {
  const secret = 'postgres://user:secret@host/db';
  const refused: [unknown, string][] = [
    [null, 'options must be an object, got null'],
    [secret, 'options must be an object, got a string'],
    [{ connection: null }, 'connection must be an object, got null'],
    [{ connection: secret }, 'connection must be an object, got a string'],
    [{ connectionString: 5 }, 'connectionString must be a string, got 5'],
    [{ connectionString: null }, 'connectionString must be a string, got null'],
    [{ name: Symbol('name') }, 'name must be a string, got a symbol'],
    [{ replica: true }, 'replica must be an object, got true'],
    [{ clock: {} }, 'clock.now must be a function, got undefined'],
    [{ random: 0.5 }, 'random must be a function, got 0.5'],
    [{ minSize: null }, 'minSize must be an integer >= 0, got null'],
    [{ maxSize: '5' }, 'maxSize must be an integer >= 1, got "5"'],
    [{ maxSize: Symbol('many') }, 'maxSize must be an integer >= 1, got a symbol'],
    [{ maxUses: [] }, 'maxUses must be an integer >= 1 or Infinity, got an array'],
    [{ reset: null }, "reset must be 'connection', 'always' or 'never', got null"],
  ];
  for (const [options, message] of refused) {
    const error = (() => {
      try {
        return new PostgresPool(wrong(options));
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(error, message).toBeInstanceOf(TypeError);
    expect((error as Error).message).toBe(`@x/pools: PostgresPool.${message}`);
    expect(inspect(error)).not.toContain('secret');
  }
  expect(new PostgresPool(wrong({ connection: undefined, connectionString: undefined, name: undefined })).name).toBe(
    'postgres',
  );
});

test('a signal is one, whatever is called with it', async () => {
  await using pool = open();
  const calls: ((options: never) => Promise<unknown>)[] = [
    (options) => pool.query('select 1', [], options),
    (options) => pool.fetch('select 1', [], { ...(options as object), lane: 'shared' }),
    (options) => pool.withConnection((session) => session.query('select 1', [], options)),
    (options) => pool.withConnection(async () => {}, options),
    (options) => pool.transaction(async () => {}, options),
    (options) => pool.transaction((tx) => tx.transaction(async () => {}, options)),
    (options) => pool.insertMany('nothing', ['a'], [[1]], options),
    async (options) => pool.stream('select 1', [], options).next(),
    (options) => pool.listen('news', () => {}, options),
    (options) => pool.connect(options),
  ];
  for (const call of calls) {
    for (const signal of signals) {
      await expect(call(wrong({ signal })), `${call}`).rejects.toThrow(/\.signal must be an AbortSignal, got /);
    }
    if (/lane/.test(`${call}`)) continue;
    await expect(call(wrong(null)), `${call}`).rejects.toThrow(/options must be an object, got null/);
    // A callback, as pg takes one, would be told of nothing.
    await expect(call(wrong(() => {})), `${call}`).rejects.toThrow(/options must be an object, got a function/);
  }
  expect(pool.stats()).toMatchObject({ inUse: 0, queryFailures: 0 });
});

test('arguments of the wrong kind are refused in words before anything is sent', async () => {
  await using pool = open();
  const refused: [string, () => unknown][] = [
    ['query: sql must be a text or an object with a text', () => pool.query(wrong(null))],
    [
      'query: params must be an array, got a function',
      () =>
        pool.query(
          'select 1',
          wrong(() => {}),
        ),
    ],
    ['query: values must be an array, got a string', () => pool.query({ text: 'select $1', values: wrong('ab') })],
    ['query: name must be a string, got 5', () => pool.query('select 1', [], { name: wrong(5) })],
    ['query: name must be a string, got null', () => pool.query({ text: 'select 1', name: wrong(null) })],
    ['query: types must be an object with getTypeParser', () => pool.query({ text: 'select 1', types: wrong({}) })],
    ['timeoutMs must be a number >= 0 or Infinity, got "5"', () => pool.query('', [], { timeoutMs: wrong('5') })],
    ["lane must be 'exclusive' or 'shared', got null", () => pool.query('select 1', [], { lane: wrong(null) })],
    [
      "lane: 'shared' must be given a statement without rows",
      () => pool.query(wrong({ text: 'select 1', rows: 5 }), [], { lane: 'shared' }),
    ],
    ["from must be 'primary' or 'replica', got null", () => pool.query('select 1', [], { from: wrong(null) })],
    ['transaction: fn must be a function, got undefined', () => pool.transaction(wrong(undefined))],
    ['retries must be an integer >= 0, got "x"', () => pool.transaction(async () => {}, { retries: wrong('x') })],
    ['withConnection: fn must be a function, got 5', () => pool.withConnection(wrong(5))],
    ['insertMany: table must be a name or an array of names, got null', () => pool.insertMany(wrong(null), ['a'], [])],
    ['insertMany: table must name at least one, got none', () => pool.insertMany([], ['a'], [])],
    ['insertMany: columns must be an array of names, got a string', () => pool.insertMany('t', wrong('a'), [])],
    ['insertMany: a name in columns must be a string, got 5', () => pool.insertMany('t', wrong([5]), [])],
    ['insertMany: rows must be an array, got null', () => pool.insertMany('t', ['a'], wrong(null))],
    [
      "insertMany: returning must be '*' or an array of names, got a string",
      () => pool.insertMany('t', ['a'], [], { returning: wrong('id') }),
    ],
    ['stream: sql must be a text, got undefined', () => pool.stream(wrong(undefined)).next()],
    ['listen: channel must be a string, got undefined', () => pool.listen(wrong(undefined), () => {})],
    ['listen: listener must be a function, got undefined', () => pool.listen('news', wrong(undefined))],
    ["on: event must be 'leak', got error", () => pool.on(wrong('error'), () => {})],
    ['on: listener must be a function, got undefined', () => pool.on('leak', wrong(undefined))],
    ['close.options must be an object, got null', () => pool.close(wrong(null))],
  ];
  for (const [message, call] of refused) await expect(async () => call(), message).rejects.toThrow(message);
  const client = await pool.connect();
  await expect(async () => client.query(wrong<string>(null))).rejects.toThrow('query: sql must be a text');
  await expect(async () =>
    client.query(
      'select 1',
      wrong(() => {}),
    ),
  ).rejects.toThrow('params must be an array');
  client.release();
  await expect.poll(() => pool.stats()).toMatchObject({ queries: 0, inUse: 0, destroyed: {} });
});

test('a function that gives no promise is as good as one that does', async () => {
  await using pool = open();
  const { signal } = new AbortController();
  expect(
    await pool.transaction(
      wrong(() => 5),
      { signal },
    ),
  ).toBe(5);
  expect(
    await pool.withConnection(
      wrong(() => 6),
      { signal },
    ),
  ).toBe(6);
  const failure = new Error('at once');
  const failing = (): never => {
    throw failure;
  };
  await expect(pool.transaction(failing, { signal })).rejects.toBe(failure);
  expect(pool.stats()).toMatchObject({ created: 1, inUse: 0 });
});
