// Code as users of graphql/dataloader 2.2.3 write it: every option, type name and pattern of its README. `tsc` checks it
// against their types and, with the import changed, against ours; a test runs it with both and compares what it records.
import DataLoader from 'dataloader';

interface User {
  id: number;
  name: string;
}

type Row = { id: number; name: string } | null;

function freezeResults<K, V>(load: DataLoader.BatchLoadFn<K, V>): DataLoader.BatchLoadFn<K, V> {
  return (keys) => load(keys).then((values) => Array.from(values, (value) => Object.freeze(value)));
}

function byKey<V>(load: (keys: readonly string[]) => Promise<Record<string, V>>): DataLoader.BatchLoadFn<string, V> {
  return (keys) => load(keys).then((values) => keys.map((key) => values[key] ?? new Error(`No value for ${key}`)));
}

class Lru<K, V> implements DataLoader.CacheMap<K, V> {
  readonly #map = new Map<K, V>();
  get(key: K): V | undefined {
    return this.#map.get(key);
  }
  set(key: K, value: V): this {
    this.#map.set(key, value);
    if (this.#map.size > 2) this.#map.delete(this.#map.keys().next().value as K);
    return this;
  }
  delete(key: K): boolean {
    return this.#map.delete(key);
  }
  clear(): void {
    this.#map.clear();
  }
}

class CountingLoader<K, V> extends DataLoader<K, V> {
  loaded = 0;
  override load(key: K): Promise<V> {
    this.loaded += 1;
    return super.load(key);
  }
}

interface Loaders {
  users: DataLoader<number, User>;
  rows: DataLoader<{ id: number }, Row, string>;
}

function createLoaders(record: (line: unknown) => void): Loaders {
  const options: DataLoader.Options<{ id: number }, Row, string> = {
    cacheKeyFn: ({ id }) => `row:${id}`,
    cacheMap: new Map<string, Promise<Row>>(),
    name: 'rows',
    batch: true,
    cache: true,
    maxBatchSize: 2,
  };
  return {
    users: new DataLoader(async (ids) => {
      record(['users', [...ids]]);
      return ids.map((id) => (id < 0 ? new Error(`no user ${id}`) : { id, name: `user ${id}` }));
    }),
    rows: new DataLoader<{ id: number }, Row, string>(async (keys) => {
      record(['rows', keys.map(({ id }) => id)]);
      return keys.map(({ id }) => (id === 0 ? null : { id, name: `row ${id}` }));
    }, options),
  };
}

/** Everything that can be told of a promise from outside. */
async function settled(promise: Promise<unknown>): Promise<unknown> {
  return promise.catch(
    (error: unknown) =>
      `${(error as Error).constructor.name === 'Error' ? 'Error' : 'TypeError'}: ${(error as Error).message}`,
  );
}

export async function run(): Promise<unknown[]> {
  const log: unknown[] = [];
  const record = (line: unknown) => void log.push(line);
  const { users, rows } = createLoaders(record);

  const first: User = await users.load(1);
  const [a, b]: (User | Error)[] = await users.loadMany([2, -3]);
  record([first.name, a instanceof Error ? a.message : a?.name, b instanceof Error ? b.message : b?.name]);
  record(await settled(users.load(-3)));
  const chained: DataLoader<number, User> = users.clear(1).clearAll().prime(4, { id: 4, name: 'primed' });
  record([(await chained.load(4)).name, chained.name, rows.name]);
  users.prime(5, Promise.resolve({ id: 5, name: 'promised' })).prime(6, new Error('primed error'));
  record([(await users.load(5)).name, await settled(users.load(6))]);
  users.clear(4).prime(4, { id: 4, name: 'again' });
  record((await users.load(4)).name);
  record(await Promise.all([1, 0, 2, 1].map((id) => rows.load({ id }))));
  record(await users.loadMany({ length: 2, 0: 10, 1: 11 }));

  const frozen = new DataLoader(freezeResults(async (ids: readonly number[]) => ids.map((id) => ({ id }))));
  record(Object.isFrozen(await frozen.load(1)));
  const objects = new DataLoader<string, number>(byKey(async () => ({ x: 1 })));
  record(await objects.loadMany(['x', 'y']).then((values) => values.map(String)));

  const lru = new DataLoader<number, number>(
    async (keys) => {
      record(['lru', [...keys]]);
      return keys;
    },
    { cacheMap: new Lru() },
  );
  for (const key of [1, 2, 1, 3, 1]) await lru.load(key);

  const same = <K>(keys: readonly K[]): readonly K[] => {
    record([...keys]);
    return keys;
  };
  const off: DataLoader<string, string>[] = [
    new DataLoader(async (keys: readonly string[]) => same(keys), { cache: false }),
    new DataLoader(async (keys: readonly string[]) => same(keys), { cacheMap: null }),
    new DataLoader(async (keys: readonly string[]) => same(keys), { batch: false }),
  ];
  for (const loader of off) await Promise.all(['A', 'B', 'A'].map((key) => loader.load(key)));

  let dispatch = () => {};
  const manual = new DataLoader<number, number>(async (keys) => same(keys), {
    batchScheduleFn(callback) {
      dispatch = callback;
    },
  });
  const waiting = [manual.load(1), manual.load(2)];
  await new Promise((resolve) => setTimeout(resolve, 1));
  record('before dispatch');
  dispatch();
  record(await Promise.all(waiting));

  const callbacks: (() => void)[] = [];
  const scheduled = new DataLoader<number, number>(async (keys) => same(keys), {
    batchScheduleFn: (callback) => void callbacks.push(callback),
  });
  const later = new DataLoader<number, number>(async (keys) => same(keys), {
    batchScheduleFn: (callback) => setTimeout(callback, 5),
  });
  const early = scheduled.load(1);
  for (const callback of callbacks.splice(0)) callback();
  const late = [scheduled.load(2), later.load(3)];
  await new Promise((resolve) => setTimeout(resolve, 1));
  late.push(later.load(4));
  for (const callback of callbacks) callback();
  record(await Promise.all([early, ...late]));

  const forgetful: DataLoader<string, string> = new DataLoader(async (keys: readonly string[]) => {
    forgetful.clearAll();
    return same(keys);
  });
  record(await forgetful.loadMany(['A', 'B', 'A']));
  record(await forgetful.loadMany(['A', 'C']));

  // A user is known by id and by name.
  const byName: DataLoader<string, User> = new DataLoader(async (names: readonly string[]) => {
    record(['by name', [...names]]);
    const found = names.map((name) => ({ id: name.length, name }));
    for (const user of found) users.prime(user.id, user);
    return found;
  });
  record([await byName.load('Ada'), await users.clear(3).load(3)]);
  record([await byName.clear('Ada').load('Ada'), await users.load(3)]);
  // A hit waits for the open batch, and what follows is asked for together; in which order is not promised.
  const friends = new DataLoader(async (ids: readonly number[]) => same([...ids].sort()).map(() => ids.length));
  friends.prime(1, 20);
  const friendOf = async (id: number) => friends.load((await friends.load(id)) + 100);
  record(await Promise.all([friendOf(1), friendOf(2)]));
  record(await settled(users.load(-9)));
  record(await settled(users.load(-9)));
  record(await settled(users.clear(-9).load(-9)));

  const counting = new CountingLoader<number, number>(async (keys) => keys);
  await counting.loadMany([1, 2, 2]);
  record(counting.loaded);

  const failing = new DataLoader<number, number>(() => Promise.reject(new Error('down')));
  record(await Promise.all([settled(failing.load(1)), settled(failing.load(2)), failing.loadMany([3]).then(String)]));
  // What JavaScript may do wrong.
  const wrong = [null, undefined, 'text', [], [1, 2], () => 1];
  for (const value of wrong) {
    const loader = new DataLoader<number, number>(async () => value as number[]);
    record(await settled(loader.load(1)));
    record(await settled(new DataLoader<number, number>(() => value as never).load(1)));
  }
  const throwing = new DataLoader<number, number>(() => {
    throw new Error('at once');
  });
  record(await settled(throwing.load(1)));
  const calls: (() => unknown)[] = [
    () => new DataLoader(undefined as never),
    () => new DataLoader({} as never),
    () => users.load(null as never),
    () => users.load(undefined as never),
    () => users.loadMany(undefined as never),
    () => users.loadMany(1 as never),
    () => new DataLoader(async (keys) => keys, { maxBatchSize: 0 }),
    () => new DataLoader(async (keys) => keys, { maxBatchSize: '1' as never }),
    () => new DataLoader(async (keys) => keys, { cacheKeyFn: 1 as never }),
    () => new DataLoader(async (keys) => keys, { batchScheduleFn: 1 as never }),
    () => new DataLoader(async (keys) => keys, { cacheMap: { get() {} } as never }),
  ];
  for (const call of calls) {
    try {
      record(String(call()));
    } catch (error) {
      record(`${error instanceof TypeError} ${(error as Error).message}`);
    }
  }
  return log;
}
