import { getEventListeners } from 'node:events';
import { createLoaders, DataLoader, type DataLoaderOptions, type Loader } from '@x/dataloader';
import { ManualClock } from '@x/testkit';
import { expect } from 'vitest';
import { LoaderModel, outcomeOf } from './loader-model.ts';
import {
  type Ending,
  KEY_MODULUS,
  keyLoadedInside,
  type LoaderSetup,
  type LoaderStep,
  MAX_WAIT_MS,
  MOST_LOADING_CALLS,
  WINDOW_MS,
} from './loader-setup.ts';
import type { ModelEntry, ModelLoad } from './model-parts.ts';
import { expectSame, type Play, playSteps, settleOneOf } from './playing.ts';

type Value = { key: number; batch: number } | string | null | undefined;

interface Call {
  keys: number[];
  signal: AbortSignal;
  open: boolean;
  settle: (ending: Ending) => void;
}

/** One `load`, or one `loadMany`, beside what the model says of its keys. */
interface Asked {
  outcomes: string[] | undefined;
  readonly loads: ModelLoad[];
  readonly controller: AbortController | undefined;
}

/** What a play was made of, for the report, and what must be collected once it is over. */
export interface Played {
  batches: number;
  /** What each load came to. */
  outcomes: string[];
  loader: DataLoader<number, Value>;
  made: WeakRef<object>[];
}

/** Plays `steps` with a loader and with the model of one, and compares them after each step. */
export function playLoader(setup: LoaderSetup, steps: readonly LoaderStep[]): Promise<Played> {
  return playSteps(new LoaderPlay(setup), steps);
}

class LoaderPlay implements Play<LoaderStep, Played> {
  readonly #setup: LoaderSetup;
  readonly #model: LoaderModel;
  readonly #clock = new ManualClock();
  readonly #loader: DataLoader<number, Value>;
  /** The loader itself, then its views. */
  readonly #by: (() => Loader<number, Value>)[];
  /** Loads that the batch function has made, for the model's to make after it. */
  readonly #inside: ModelLoad[] = [];
  /** What `onBatch` has been told. */
  readonly #told: [number, number, number, string | undefined][] = [];
  readonly #calls: Call[] = [];
  readonly #asked: Asked[] = [];
  readonly #byHand: (() => void)[] = [];
  readonly #primed: { settle: (fails: boolean) => void; entry: ModelEntry | undefined; number: number }[] = [];
  readonly #made: WeakRef<object>[] = [];
  #primes = 0;
  #running = 0;

  constructor(setup: LoaderSetup) {
    this.#setup = setup;
    this.#model = new LoaderModel(setup, () => {
      // The loader has called its batch function first, and the load is there.
      const next = this.#inside.shift();
      if (next === undefined) throw new Error('the model loads what the loader has not');
      return next;
    });
    const shared = createLoaders(() => ({
      loader: new DataLoader<number, Value>(
        (keys, { signal }) => this.#call(keys as number[], signal),
        this.#options(),
      ),
    }));
    this.#loader = shared.loader;
    const views = [{ partition: 0 }, { partition: 1 }].map((ctx) => () => shared.for(ctx).loader);
    this.#by = [() => shared.loader, ...(setup.views ? views : [])];
  }

  /** Takes a step; a promise only of one that lets promise callbacks or turns pass. */
  step(step: LoaderStep): Promise<void> | undefined {
    this.#take(step);
    this.#compareCalls();
    const waits =
      step.do === 'turn' || step.do === 'promises' || step.do === 'advance' || ('look' in step && step.look === true);
    return waits ? this.#wait(step) : undefined;
  }

  async #wait(step: LoaderStep): Promise<void> {
    if (step.do === 'turn') await this.#turn();
    else if (step.do === 'advance') await this.#advance(step.ms);
    else await this.#pass();
    this.#compareCalls();
    this.#compareLoads();
  }

  #take(step: LoaderStep): void {
    const owner = 'by' in step ? this.#owner(step.by) : this.#loader;
    if (step.do === 'load') this.#load(step);
    else if (step.do === 'load many') this.#loadMany(step);
    else if (step.do === 'leave') this.#leave(step.which);
    else if (step.do === 'clear') {
      expect(owner.clear(step.key)).toBe(owner);
      this.#model.clear(step.by, step.key);
    } else if (step.do === 'clear all') {
      expect(owner.clearAll()).toBe(owner);
      this.#model.clearAll(step.by);
    } else if (step.do === 'prime') this.#prime(step);
    else if (step.do === 'settle primed') this.#settlePrimed(step.which, step.fails);
    else if (step.do === 'settle') this.#settle(step.which, step.with);
    else if (step.do === 'dispatch') this.#dispatch(step.which);
  }

  /** Lets everything that is under way come to its end. */
  async end(): Promise<Played> {
    while (this.#primed.length > 0) this.#settlePrimed(0, false);
    do {
      while (this.#byHand.length > 0) this.#dispatch(0);
      this.#settle(0, 'values');
      await this.#advance(ADAPTIVE_WAIT_MS);
      this.#compareCalls();
      this.#compareLoads();
    } while (this.#calls.some((call) => call.open) || this.#byHand.length > 0);
    const outcomes: string[] = [];
    for (const { outcomes: those, controller } of this.#asked) {
      expect(those).toBeDefined();
      outcomes.push(...(those ?? []));
      if (controller !== undefined) expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
    }
    expect(this.#clock.pendingTimers).toBe(0);
    expect(this.#loader.stats()).toMatchObject({ queuedKeys: 0, runningBatches: 0 });
    for (const owner of this.#by) owner().clearAll();
    // The loader holds its batch function and with it the play: what the play remembers must not be laid to the loader.
    for (const list of [this.#calls, this.#asked, this.#primed]) list.length = 0;
    return { batches: this.#loader.stats().batches, outcomes, loader: this.#loader, made: this.#made };
  }

  #load({ by, key, leaves }: LoaderStep & { do: 'load' }): void {
    const asked = this.#ask([key], leaves);
    const { controller } = asked;
    const modelled = asked.loads[0] as ModelLoad;
    if (leaves === 'already') controller?.abort(modelled.reason);
    this.#loadOne(asked, this.#owner(by), key);
    if (leaves === 'already') modelled.outcome = modelled.reason;
    else this.#model.load(by, key, modelled);
  }

  #loadOne(asked: Asked, owner: Loader<number, Value>, key: number): void {
    const { controller } = asked;
    const tell = (what: unknown) => {
      asked.outcomes = [shown(what)];
    };
    owner.load(key, controller && { signal: controller.signal }).then(tell, tell);
  }

  #loadMany({ by, keys, leaves }: LoaderStep & { do: 'load many' }): void {
    const asked = this.#ask(keys, leaves);
    const { controller } = asked;
    void this.#owner(by)
      .loadMany(keys, controller && { signal: controller.signal })
      .then((results) => {
        asked.outcomes = results.map(shown);
      });
    for (const [at, key] of keys.entries()) this.#model.load(by, key, asked.loads[at] as ModelLoad);
  }

  #ask(keys: readonly number[], leaves: 'never' | 'later' | 'already'): Asked {
    const reason = `left ${this.#asked.length}`;
    const may = leaves !== 'never';
    const controller = may ? new AbortController() : undefined;
    if (controller !== undefined) this.#made.push(new WeakRef(controller.signal));
    const loads = keys.map(() => ({ reason, leaves: may, outcome: undefined, source: undefined }));
    const asked: Asked = { outcomes: undefined, loads, controller };
    this.#asked.push(asked);
    return asked;
  }

  #leave(which: number): void {
    const may = this.#asked.filter(
      ({ controller, outcomes }) => outcomes === undefined && controller?.signal.aborted === false,
    );
    const leaving = may[which % Math.max(1, may.length)];
    leaving?.controller?.abort(`left ${this.#asked.indexOf(leaving)}`);
    for (const load of leaving?.loads ?? []) this.#model.leave(load);
  }

  #prime({ by, key, as }: LoaderStep & { do: 'prime' }): void {
    const number = this.#primes++;
    if (as !== 'promise') {
      const outcome = as === 'value' ? `primed ${number}` : `error primed ${number}`;
      this.#owner(by).prime(key, as === 'value' ? outcome : new Error(outcome));
      this.#model.prime(by, key, outcome);
      return;
    }
    let settle: (fails: boolean) => void = () => {};
    const promise = new Promise<Value>((resolve, reject) => {
      settle = (fails) => (fails ? reject(new Error(`error primed ${number}`)) : resolve(`primed ${number}`));
    });
    promise.catch(() => {});
    this.#owner(by).prime(key, promise);
    this.#primed.push({ settle, number, entry: this.#model.prime(by, key, undefined) });
  }

  #settlePrimed(which: number, fails: boolean): void {
    const [primed] = this.#primed.splice(which % Math.max(1, this.#primed.length), 1);
    primed?.settle(fails);
    if (primed?.entry === undefined) return;
    this.#model.settlePrimed(primed.entry, `${fails ? 'error primed' : 'primed'} ${primed.number}`);
  }

  #settle(which: number, ending: Ending): void {
    settleOneOf(this.#calls, this.#model, which, ending);
  }

  #dispatch(which: number): void {
    const at = which % Math.max(1, this.#byHand.length);
    const [dispatch] = this.#byHand.splice(at, 1);
    const [batch] = this.#model.byHand.splice(at, 1);
    dispatch?.();
    if (batch !== undefined) this.#model.dispatch(batch);
  }

  async #pass(): Promise<void> {
    for (let i = 0; i < 20; i += 1) await undefined;
    this.#model.pass();
  }

  async #turn(): Promise<void> {
    await this.#turns();
    this.#model.turn();
  }

  async #advance(ms: number): Promise<void> {
    await this.#turns();
    for (let passed = 0; passed < ms; passed += 1) {
      await this.#clock.advance(1);
      await this.#turns();
    }
    this.#model.advance(ms);
  }

  // The adaptive schedule looks at the loop four times, and again if a batch ends meanwhile; a sliding window ends after eight turns.
  async #turns(): Promise<void> {
    const { schedule, starts } = this.#setup;
    const turns = schedule === 'adaptive' || schedule === 'sliding window' ? 12 : 2;
    // A batch function that loads begins a batch, whose batch function may load.
    const batches = starts.includes('loads') ? 1 + MOST_LOADING_CALLS : 1;
    for (let i = 0; i < turns * batches; i += 1) await new Promise((resolve) => setImmediate(resolve));
  }

  #compareCalls(): void {
    const { calls, stats, byHand, running, told } = this.#model;
    const { queueWaitMs: _waited, ...counted } = this.#loader.stats();
    expectSame(
      {
        calls: this.#calls.map(({ keys, signal }) => [keys, signal.aborted]),
        stats: counted,
        byHand: this.#byHand.length,
        told: this.#told,
      },
      {
        calls: calls.map(({ batch }) => [batch.keys, batch.aborted]),
        stats: { ...stats, runningBatches: running },
        byHand: byHand.length,
        told,
      },
    );
  }

  #compareLoads(): void {
    expectSame(
      this.#asked.map(({ outcomes }) => outcomes),
      this.#asked.map(({ loads }) => {
        const outcomes = loads.map(({ outcome }) => outcome);
        return outcomes.includes(undefined) ? undefined : outcomes;
      }),
    );
  }

  #call(keys: number[], signal: AbortSignal): Promise<(Value | Error)[]> {
    const { starts, maxBatchSize, maxConcurrentBatches } = this.#setup;
    const number = this.#calls.length;
    const start = starts[number % starts.length];
    const modelled = [...keys];
    expect(keys.length).toBeLessThanOrEqual(maxBatchSize);
    this.#running += 1;
    // What a batch function loads itself needs no place.
    if (!starts.includes('loads')) expect(this.#running).toBeLessThanOrEqual(maxConcurrentBatches);
    this.#made.push(new WeakRef(keys), new WeakRef(signal));
    const call: Call = { keys: modelled, signal, open: start === 'held' || start === 'loads', settle: () => {} };
    this.#calls.push(call);
    if (!call.open) this.#running -= 1;
    if (start === 'loads' && number < MOST_LOADING_CALLS) {
      const asked = this.#ask([keyLoadedInside(modelled[0] as number)], 'never');
      this.#inside.push(asked.loads[0] as ModelLoad);
      this.#loadOne(asked, this.#loader, keyLoadedInside(modelled[0] as number));
    }
    if (start === 'throws') throw new Error('thrown');
    if (start === 'gives no promise') return 7 as never;
    return new Promise((resolve, reject) => {
      call.settle = (ending) => {
        call.open = false;
        this.#running -= 1;
        if (ending === 'a rejection') reject(this.#note(new Error(`batch ${number} rejected`)));
        else resolve(this.#results(keys, number, ending) as (Value | Error)[]);
      };
    });
  }

  #results(keys: number[], batch: number, ending: Ending): unknown {
    if (ending === 'values of sorted keys') keys.reverse();
    const values = keys.map((key) =>
      outcomeOf(key, batch, 'values', 'undefined').startsWith('error')
        ? this.#note(new RangeError(`error of ${key} in ${batch}`))
        : this.#note({ key, batch }),
    );
    if (ending === 'no array') return {};
    if (ending === 'too few') return values.slice(1);
    if (ending === 'a sparse array')
      return Object.assign(new Array(values.length), { 1: values[1] }).slice(0, values.length);
    if (ending === 'a Map') return new Map(keys.map((key, at) => [key, values[at]]));
    if (ending === 'a Map that lacks keys')
      return new Map(keys.map((key, at) => [key, values[at]] as const).filter(([key]) => key % 2 === 1));
    return values;
  }

  #note<T extends object>(made: T): T {
    this.#made.push(new WeakRef(made));
    return made;
  }

  #owner(by: number): Loader<number, Value> {
    this.#model.use(by);
    return (this.#by[by % this.#by.length] as () => Loader<number, Value>)();
  }

  #options(): DataLoaderOptions<number, Value, number> {
    const {
      schedule,
      cache,
      cacheErrors,
      sameKeys,
      partitioned,
      starts: _starts,
      views: _views,
      onBatch,
      ...same
    } = this.#setup;
    const { maxEntries, ttlMs, ...rest } = same;
    const schedules: Record<LoaderSetup['schedule'], DataLoaderOptions<number, Value, number>> = {
      tick: { schedule: 'tick' },
      immediate: { schedule: 'immediate' },
      adaptive: { schedule: 'adaptive' },
      window: { schedule: { windowMs: WINDOW_MS } },
      'sliding window': { schedule: { windowMs: WINDOW_MS, maxWaitMs: MAX_WAIT_MS } },
      'by hand': { batchScheduleFn: (dispatch) => void this.#byHand.push(dispatch) },
      'at once': { batchScheduleFn: (dispatch) => dispatch() },
    };
    return {
      ...rest,
      ...schedules[schedule],
      ...(cache === 'own' && { maxEntries, ttlMs }),
      ...(cache === 'off' && { cache: false }),
      ...(cache === 'cacheMap' && { cacheMap: new Map() }),
      cacheErrors: cacheErrors === 'of even keys' ? (_error, key) => key % 2 === 0 : cacheErrors === 'all',
      ...(same.maxBatchWeight !== undefined && { weightOf: (key: number) => key }),
      ...(sameKeys && { cacheKeyFn: (key: number) => key % KEY_MODULUS }),
      ...(partitioned && {
        partition: (key: number, ctx: unknown) => (ctx as { partition: number } | undefined)?.partition ?? key % 2,
      }),
      ...(onBatch !== 'absent' && {
        onBatch: ({ size, waitMs, runMs, outcome }) => {
          this.#told.push([size, waitMs, runMs, outcome]);
          if (onBatch === 'throws') throw new Error('told');
        },
      }),
      clock: this.#clock,
    };
  }
}

const ADAPTIVE_WAIT_MS = 10;

function shown(what: unknown): string {
  if (what instanceof Error) return (what as { code?: string }).code ?? what.message;
  if (typeof what === 'object' && what !== null)
    return `${(what as { key: number }).key} in ${(what as { batch: number }).batch}`;
  return String(what);
}
