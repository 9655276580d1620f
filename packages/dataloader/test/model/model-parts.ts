/** A load, or a `loadMany`, as the model sees it: what each key came to, once it has come to something. */
export interface ModelLoad {
  readonly reason: string;
  readonly leaves: boolean;
  outcome: string | undefined;
  /** The batch that its key is asked for in, if it may leave that. */
  source: ModelBatch | undefined;
}

/** What one key of a batch, or a primed value, comes to. */
export interface ModelEntry {
  outcome: string | undefined;
  readonly batch: ModelBatch | undefined;
  readonly partition: unknown;
  /** Hits on it wait for no batch. */
  readonly kept: boolean;
  /** In whose caches it was put, under which key. */
  readonly owners: { owner: ModelOwner; key: number }[];
  readonly waiting: ModelLoad[];
}

/** A loader's own cache, or a view's. */
export interface ModelOwner {
  readonly cache: ModelCache | undefined;
  /** Whether the cache knows partitions. A user's `cacheMap` does not. */
  readonly knowsPartitions: boolean;
  readonly ordered: boolean;
  dedupe: boolean;
  readonly partition: (key: number) => unknown;
}

export interface ModelBatch {
  readonly partition: unknown;
  readonly keys: number[];
  readonly entries: ModelEntry[];
  readonly located: Map<number, ModelEntry>;
  readonly openedAt: number;
  joinedAt: number;
  startedAt: number | undefined;
  weight: number;
  due: boolean;
  dispatched: boolean;
  running: boolean;
  settled: boolean;
  /** A load in the batch function waits for it: it needs no place. */
  urgent: boolean;
  aborted: boolean;
  pinned: boolean;
  waiters: number;
  hits: { load: ModelLoad; entry: ModelEntry }[];
  timer: ModelTimer | undefined;
}

export interface ModelCall {
  readonly batch: ModelBatch;
  readonly number: number;
  open: boolean;
}

/** The least recently used leaves first; nothing is older than `ttlMs`. A list: plain, and as slow as may be. */
export class ModelCache {
  #list: { key: number; entry: ModelEntry; setAt: number }[] = [];
  readonly #maxEntries: number;
  readonly #ttlMs: number;
  readonly #now: () => number;

  constructor(now: () => number, maxEntries = Number.POSITIVE_INFINITY, ttlMs = Number.POSITIVE_INFINITY) {
    this.#now = now;
    this.#maxEntries = maxEntries;
    this.#ttlMs = ttlMs;
  }

  get(key: number): ModelEntry | undefined {
    const found = this.#list.find((one) => one.key === key);
    this.delete(key);
    if (found === undefined || this.#now() - found.setAt >= this.#ttlMs) return undefined;
    this.#list.push(found);
    return found.entry;
  }

  set(key: number, entry: ModelEntry): void {
    this.delete(key);
    this.#list.push({ key, entry, setAt: this.#now() });
    if (this.#list.length > this.#maxEntries) this.#list.shift();
  }

  delete(key: number): void {
    this.#list = this.#list.filter((one) => one.key !== key);
  }

  clear(): void {
    this.#list = [];
  }
}

interface ModelTimer {
  due: number;
  fire: () => void;
}

/** Time that moves when it is told to, and calls back at once. */
export class ModelTime {
  now = 1_000;
  #timers: ModelTimer[] = [];

  after(ms: number, fire: () => void): ModelTimer {
    const timer = { due: this.now + ms, fire };
    this.#timers.push(timer);
    return timer;
  }

  cancel(timer: ModelTimer | undefined): void {
    this.#timers = this.#timers.filter((one) => one !== timer);
  }

  /** Fires what falls due within `ms`, equal times in the order in which they were set, and calls `between` after each. */
  advance(ms: number, between: () => void): void {
    const end = this.now + ms;
    for (;;) {
      const due = Math.min(...this.#timers.map((timer) => timer.due));
      if (due > end) break;
      const next = this.#timers.find((timer) => timer.due === due) as ModelTimer;
      this.cancel(next);
      this.now = due;
      next.fire();
      between();
    }
    this.now = end;
  }
}
