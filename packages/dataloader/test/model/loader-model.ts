import {
  type Ending,
  KEY_MODULUS,
  keyLoadedInside,
  type LoaderSetup,
  MAX_WAIT_MS,
  MOST_LOADING_CALLS,
  WINDOW_MS,
} from './loader-setup.ts';
import {
  type ModelBatch,
  ModelCache,
  type ModelCall,
  type ModelEntry,
  type ModelLoad,
  type ModelOwner,
  ModelTime,
} from './model-parts.ts';

/** With the adaptive schedule a batch waits no longer than this, and goes after so many turns of the event loop that brought nothing. */
const ADAPTIVE_WAIT_MS = 10;
const QUIET_TURNS = 3;
/** A sliding window is over when the event loop has turned so often since its end. */
const WINDOW_TURNS = 8;

/**
 * What a loader and its views must do, step by step and without a promise: callbacks of promises run when `pass` is called, and
 * what waits for a turn of the event loop when `turn` is. It is told of the same steps as the loader, and says which batches are
 * asked for, which signals have aborted, and what each load has come to.
 */
export class LoaderModel {
  readonly calls: ModelCall[] = [];
  readonly stats = { loads: 0, hits: 0, batches: 0, keysLoaded: 0, largestBatch: 0, batchFailures: 0, queuedKeys: 0 };
  running = 0;
  /** What `onBatch` is told, in order: size, milliseconds of waiting and of running, outcome. */
  readonly told: [number, number, number, string][] = [];
  readonly #loadInside: () => ModelLoad;
  #inside = false;
  readonly #setup: LoaderSetup;
  readonly #time = new ModelTime();
  readonly #owners: ModelOwner[];
  readonly #open = new Map<unknown, ModelBatch>();
  readonly #waiting: ModelBatch[] = [];
  readonly byHand: ModelBatch[] = [];
  /** Batches that go after the promise callbacks of this turn. */
  readonly #soon: ModelBatch[] = [];
  /** What waits for the next turn of the event loop. */
  readonly #immediates: (() => void)[] = [];
  /** Batches that look out for quiet turns when one that runs has ended. */
  readonly #gathering: ModelBatch[] = [];
  #arrivals: (() => void)[] = [];
  #emitted: { load: ModelLoad; outcome: string }[] = [];
  #passing = false;

  /** `loadInside`: the next load that the batch function has made, in its own call. */
  constructor(setup: LoaderSetup, loadInside: () => ModelLoad) {
    this.#setup = setup;
    this.#loadInside = loadInside;
    const { cache, views, orderedHits, dedupe, partitioned, maxEntries, ttlMs } = setup;
    const now = () => this.#time.now;
    const bounded = () => (cache === 'own' ? new ModelCache(now, maxEntries, ttlMs) : new ModelCache(now));
    const view = (partition: number): ModelOwner => ({
      cache: cache === 'off' ? undefined : bounded(),
      knowsPartitions: true,
      ordered: false,
      dedupe: true,
      partition: () => (partitioned ? partition : undefined),
    });
    this.#owners = [
      {
        cache: cache === 'off' ? undefined : bounded(),
        knowsPartitions: cache !== 'cacheMap',
        ordered: orderedHits,
        dedupe: cache === 'off' && dedupe,
        partition: (key) => (partitioned ? key % 2 : undefined),
      },
      ...(views ? [view(0), view(1)] : []),
    ];
  }

  /** With the first view others ask for keys too, whether or not anything is loaded through it. */
  use(by: number): void {
    const [loader] = this.#owners as [ModelOwner];
    if (this.#owner(by) !== loader && this.#setup.cache !== 'off') loader.dedupe = true;
  }

  load(by: number, key: number, load: ModelLoad): void {
    this.stats.loads += 1;
    const owner = this.#owner(by);
    const partition = owner.partition(key);
    const cached = owner.cache?.get(this.#cacheKey(key));
    if (cached !== undefined && (!owner.knowsPartitions || cached.partition === partition)) {
      this.#hit(owner, cached, partition, load);
      return;
    }
    const open = this.#open.get(partition);
    const there = owner.dedupe && open?.located.has(this.#cacheKey(key)) === true;
    const batch = there && open !== undefined ? open : this.#openFor(key, partition);
    const entry = this.#join(owner, key, batch);
    owner.cache?.set(this.#cacheKey(key), entry);
    this.#stay(load, batch);
    this.#wait(load, entry);
    this.#joined(batch);
  }

  leave(load: ModelLoad): void {
    if (load.outcome !== undefined) return;
    load.outcome = load.reason;
    const { source } = load;
    if (source === undefined) return;
    source.waiters -= 1;
    if (source.waiters === 0 && !source.pinned && !source.settled) this.#abandon(source, load.reason);
  }

  clear(by: number, key: number): void {
    this.#owner(by).cache?.delete(this.#cacheKey(key));
  }

  clearAll(by: number): void {
    this.#owner(by).cache?.clear();
  }

  /** The entry, if it was kept; `outcome` is absent where a promise was given. */
  prime(by: number, key: number, outcome: string | undefined): ModelEntry | undefined {
    const owner = this.#owner(by);
    const partition = owner.partition(key);
    const cached = owner.cache?.get(this.#cacheKey(key));
    if (owner.cache === undefined) return undefined;
    if (cached !== undefined && (!owner.knowsPartitions || cached.partition === partition)) return undefined;
    const entry: ModelEntry = { outcome, batch: undefined, partition, kept: !owner.ordered, owners: [], waiting: [] };
    owner.cache.set(this.#cacheKey(key), entry);
    return entry;
  }

  settlePrimed(entry: ModelEntry, outcome: string): void {
    this.#arrivals.push(() => this.#settleEntry(entry, outcome));
  }

  settle(call: ModelCall, ending: Ending): void {
    call.open = false;
    this.#arrivals.push(() => {
      if (!call.batch.settled) this.#arrive(call, ending);
      this.#makeRoom();
    });
  }

  dispatch(batch: ModelBatch): void {
    if (batch.dispatched) return;
    this.#close(batch);
    if (batch.keys.length === 0) this.#answerHits(batch);
    else if (this.running >= this.#setup.maxConcurrentBatches && !batch.urgent) this.#waiting.push(batch);
    else this.#run(batch);
  }

  /** The promise callbacks that are ready run. */
  pass(): void {
    this.#passing = true;
    for (const { load, outcome } of this.#emitted.splice(0)) load.outcome ??= outcome;
    while (this.#arrivals.length > 0) this.#arrivals.shift()?.();
    this.#passing = false;
  }

  /** The event loop turns until nothing waits for it. */
  turn(): void {
    this.#endTurn();
    while (this.#immediates.length > 0) this.#turnOnce();
  }

  advance(ms: number): void {
    this.turn();
    for (let passed = 0; passed < ms; passed += 1) {
      // The loop turns once between two timers.
      this.#time.advance(1, () => this.#turnOnce());
      this.turn();
    }
  }

  #turnOnce(): void {
    this.#endTurn();
    for (const callback of this.#immediates.splice(0)) {
      callback();
      this.#endTurn();
    }
  }

  // Promise callbacks, and the batches that wait for them to end.
  #endTurn(): void {
    this.pass();
    while (this.#soon.length > 0) {
      for (const batch of this.#soon.splice(0)) this.dispatch(batch);
      this.pass();
    }
  }

  #owner(by: number): ModelOwner {
    return this.#owners[by % this.#owners.length] as ModelOwner;
  }

  #cacheKey(key: number): number {
    return this.#setup.sameKeys ? key % KEY_MODULUS : key;
  }

  #join(owner: ModelOwner, key: number, batch: ModelBatch): ModelEntry {
    const known = owner.dedupe ? batch.located.get(this.#cacheKey(key)) : undefined;
    if (known !== undefined) {
      this.stats.hits += 1;
      known.owners.push({ owner, key });
      return known;
    }
    const owners = [{ owner, key }];
    const entry: ModelEntry = {
      outcome: undefined,
      batch,
      partition: batch.partition,
      kept: !owner.ordered,
      owners,
      waiting: [],
    };
    this.stats.queuedKeys += 1;
    batch.keys.push(key);
    batch.entries.push(entry);
    batch.located.set(this.#cacheKey(key), entry);
    return entry;
  }

  #hit(owner: ModelOwner, entry: ModelEntry, partition: unknown, load: ModelLoad): void {
    this.stats.hits += 1;
    const source = entry.outcome === undefined ? entry.batch : undefined;
    if (source !== undefined && this.#inside) this.#hurry(source);
    const waitsForNoBatch = !owner.ordered || (owner.knowsPartitions && entry.kept);
    if (waitsForNoBatch) {
      this.#stay(load, source);
      this.#wait(load, entry);
      return;
    }
    const open = this.#openIn(partition);
    if (source === open) this.#wait(load, entry);
    else open.hits.push({ load, entry });
    this.#stay(load, source);
    this.#joined(open);
  }

  #stay(load: ModelLoad, batch: ModelBatch | undefined): void {
    if (batch === undefined) return;
    if (!load.leaves) batch.pinned = true;
    else {
      batch.waiters += 1;
      load.source = batch;
    }
  }

  #wait(load: ModelLoad, entry: ModelEntry): void {
    if (entry.outcome === undefined) entry.waiting.push(load);
    else this.#emit(load, entry.outcome);
  }

  // Outside of `pass` it comes to something later: until then the caller may leave.
  #emit(load: ModelLoad, outcome: string): void {
    if (this.#passing) load.outcome ??= outcome;
    else this.#emitted.push({ load, outcome });
  }

  #openIn(partition: unknown): ModelBatch {
    const { maxBatchSize, maxBatchWeight = Number.POSITIVE_INFINITY } = this.#setup;
    const open = this.#open.get(partition);
    return open !== undefined && open.keys.length < maxBatchSize && open.weight < maxBatchWeight
      ? open
      : this.#begin(partition);
  }

  #openFor(key: number, partition: unknown): ModelBatch {
    let batch = this.#openIn(partition);
    const { maxBatchWeight } = this.#setup;
    if (maxBatchWeight === undefined) return batch;
    if (batch.keys.length > 0 && batch.weight + key > maxBatchWeight) {
      this.#hasNoRoom(batch);
      batch = this.#begin(partition);
    }
    batch.weight += key;
    return batch;
  }

  #begin(partition: unknown): ModelBatch {
    const { now } = this.#time;
    const flags = { due: false, dispatched: false, running: false, settled: false };
    const more = { urgent: false, aborted: false, pinned: false };
    const lists = { keys: [], entries: [], located: new Map(), hits: [] };
    const times = { openedAt: now, joinedAt: now, startedAt: undefined, timer: undefined };
    const batch: ModelBatch = { partition, weight: 0, waiters: 0, ...lists, ...times, ...flags, ...more };
    this.#open.set(partition, batch);
    this.#schedule(batch);
    return batch;
  }

  #schedule(batch: ModelBatch): void {
    const { schedule } = this.#setup;
    const dispatchAfter = (ms: number) => this.#time.after(ms, () => this.dispatch(batch));
    if (schedule === 'tick') this.#soon.push(batch);
    else if (schedule === 'immediate') this.#dispatchInNextTurn(batch);
    else if (schedule === 'by hand') this.byHand.push(batch);
    else if (schedule === 'at once') batch.due = true;
    else if (schedule === 'window') batch.timer = dispatchAfter(WINDOW_MS);
    else if (schedule === 'sliding window') this.#slide(batch, WINDOW_MS);
    else if (this.running === 0) this.#whenQuiet(batch);
    else {
      this.#gathering.push(batch);
      batch.timer = dispatchAfter(ADAPTIVE_WAIT_MS);
    }
  }

  #dispatchInNextTurn(batch: ModelBatch): void {
    this.#immediates.push(() => this.dispatch(batch));
  }

  #whenQuiet(batch: ModelBatch): void {
    let before = '';
    let quietTurns = 0;
    const look = () => {
      if (batch.dispatched) return;
      const now = `${batch.keys.length} keys at ${this.#time.now}`;
      quietTurns = now === before ? quietTurns + 1 : 0;
      before = now;
      const waited = this.#time.now - batch.openedAt;
      if (quietTurns === QUIET_TURNS || waited >= ADAPTIVE_WAIT_MS) this.dispatch(batch);
      else this.#immediates.push(look);
    };
    this.#immediates.push(look);
  }

  #slide(batch: ModelBatch, ms: number): void {
    let turns = 0;
    const look = () => {
      if (batch.dispatched) return;
      const longest = batch.openedAt + MAX_WAIT_MS - this.#time.now;
      const left = Math.min(longest, batch.joinedAt + WINDOW_MS - this.#time.now);
      turns += 1;
      if (left > 0) this.#slide(batch, left);
      else if (longest <= 0 || turns === WINDOW_TURNS) this.dispatch(batch);
      else this.#immediates.push(look);
    };
    batch.timer = this.#time.after(ms, () => this.#immediates.push(look));
  }

  #joined(batch: ModelBatch): void {
    const { maxBatchSize, maxBatchWeight = Number.POSITIVE_INFINITY } = this.#setup;
    batch.joinedAt = this.#time.now;
    if (this.#inside) this.#hurry(batch);
    if (batch.due) this.dispatch(batch);
    else if (batch.keys.length >= maxBatchSize || batch.weight >= maxBatchWeight) this.#hasNoRoom(batch);
  }

  /** A load in the batch function waits for `batch`: a batch that holds a place must not wait for it to be free. */
  #hurry(batch: ModelBatch): void {
    const { maxConcurrentBatches, schedule } = this.#setup;
    if (maxConcurrentBatches === Number.POSITIVE_INFINITY && schedule !== 'adaptive') return;
    batch.urgent = true;
    const at = this.#waiting.indexOf(batch);
    if (at >= 0) {
      this.#waiting.splice(at, 1);
      this.#run(batch);
    }
    if (schedule === 'adaptive' && !batch.dispatched) this.#dispatchInNextTurn(batch);
  }

  #hasNoRoom(batch: ModelBatch): void {
    if (['window', 'sliding window', 'adaptive'].includes(this.#setup.schedule)) this.#soon.push(batch);
  }

  #close(batch: ModelBatch): void {
    batch.dispatched = true;
    this.#time.cancel(batch.timer);
    if (this.#open.get(batch.partition) === batch) this.#open.delete(batch.partition);
  }

  #run(batch: ModelBatch): void {
    const { batchTimeoutMs, starts } = this.#setup;
    const size = batch.keys.length;
    batch.running = true;
    batch.startedAt = this.#time.now;
    this.running += 1;
    this.stats.batches += 1;
    this.stats.keysLoaded += size;
    this.stats.queuedKeys -= size;
    this.stats.largestBatch = Math.max(this.stats.largestBatch, size);
    if (batchTimeoutMs !== undefined) batch.timer = this.#time.after(batchTimeoutMs, () => this.#timeOut(batch));
    const call = { batch, number: this.calls.length, open: true };
    this.calls.push(call);
    const start = starts[call.number % starts.length];
    if (start === 'loads' && call.number < MOST_LOADING_CALLS) {
      const outside = this.#inside;
      this.#inside = true;
      this.load(0, keyLoadedInside(batch.keys[0] as number), this.#loadInside());
      this.#inside = outside;
    }
    if (start === 'held' || start === 'loads') return;
    call.open = false;
    this.#fail(batch, 'ERR_BATCH_RESULT');
    this.#makeRoom();
  }

  #makeRoom(): void {
    this.running -= 1;
    while (this.#waiting.length > 0 && this.running < this.#setup.maxConcurrentBatches) {
      this.#run(this.#waiting.shift() as ModelBatch);
    }
    for (const batch of this.#gathering.splice(0)) this.#whenQuiet(batch);
  }

  #timeOut(batch: ModelBatch): void {
    this.#fail(batch, 'ERR_TIMEOUT');
    batch.aborted = true;
  }

  #abandon(batch: ModelBatch, reason: string): void {
    if (!batch.dispatched) this.#close(batch);
    if (!batch.running) {
      this.stats.queuedKeys -= batch.keys.length;
      const at = this.#waiting.indexOf(batch);
      if (at >= 0) this.#waiting.splice(at, 1);
    }
    this.#tell(batch, 'aborted');
    this.#endAll(batch, reason);
    batch.aborted = true;
  }

  #arrive({ batch, number }: ModelCall, ending: Ending): void {
    const { cacheErrors } = this.#setup;
    if (ending === 'a rejection') {
      this.#fail(batch, `batch ${number} rejected`);
      return;
    }
    const sorted = ending === 'values of sorted keys' && isChangedByReversal(batch.keys);
    if (sorted || ['too few', 'a sparse array', 'no array'].includes(ending)) {
      this.#fail(batch, 'ERR_BATCH_RESULT');
      return;
    }
    batch.settled = true;
    this.#time.cancel(batch.timer);
    this.#tell(batch, 'success');
    this.#answerHits(batch);
    for (const [at, entry] of batch.entries.entries()) {
      const key = batch.keys[at] as number;
      const outcome = outcomeOf(key, number, ending, this.#setup.missing);
      const keeps = cacheErrors === 'all' || (cacheErrors === 'of even keys' && key % 2 === 0);
      if (isErrorOutcome(outcome) && !keeps) this.#forget(entry);
      this.#settleEntry(entry, outcome);
    }
  }

  #fail(batch: ModelBatch, outcome: string): void {
    this.stats.batchFailures += 1;
    this.#tell(batch, 'failure');
    this.#endAll(batch, outcome);
  }

  #tell({ keys, openedAt, startedAt }: ModelBatch, outcome: string): void {
    if (startedAt === undefined || this.#setup.onBatch === 'absent') return;
    this.told.push([keys.length, startedAt - openedAt, this.#time.now - startedAt, outcome]);
  }

  #endAll(batch: ModelBatch, outcome: string): void {
    batch.settled = true;
    this.#time.cancel(batch.timer);
    this.#answerHits(batch);
    for (const entry of batch.entries) {
      this.#forget(entry);
      this.#settleEntry(entry, outcome);
    }
  }

  #answerHits(batch: ModelBatch): void {
    for (const { load, entry } of batch.hits.splice(0)) this.#wait(load, entry);
  }

  #forget(entry: ModelEntry): void {
    for (const { owner, key } of entry.owners) {
      if (owner.cache?.get(this.#cacheKey(key)) === entry) owner.cache.delete(this.#cacheKey(key));
    }
  }

  #settleEntry(entry: ModelEntry, outcome: string): void {
    entry.outcome = outcome;
    for (const load of entry.waiting.splice(0)) this.#emit(load, outcome);
  }
}

/** What the batch function of the play gives for a key. Every third key is an error. */
export function outcomeOf(key: number, batch: number, ending: Ending, missing: LoaderSetup['missing']): string {
  if (ending === 'a Map that lacks keys' && key % 2 === 0) return missing === 'error' ? 'ERR_MISSING_KEY' : missing;
  return key % 3 === 2 ? `error of ${key} in ${batch}` : `${key} in ${batch}`;
}

function isErrorOutcome(outcome: string): boolean {
  return outcome.startsWith('error') || outcome === 'ERR_MISSING_KEY';
}

function isChangedByReversal(keys: readonly number[]): boolean {
  return keys.some((key, at) => key !== keys[keys.length - 1 - at]);
}
