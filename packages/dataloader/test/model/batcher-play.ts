import { getEventListeners } from 'node:events';
import { Batcher, validateBatch } from '@x/dataloader';
import { ManualClock } from '@x/testkit';
import { expect } from 'vitest';
import { z } from 'zod';
import { BatcherModel, type ModelItem, type ModelWait, writeOutcome } from './batcher-model.ts';
import {
  type BatcherSetup,
  type BatcherStep,
  MOST_SUBMITTING_CALLS,
  WRITE_WINDOW_MS,
  type WriteEnding,
} from './batcher-setup.ts';
import { expectSame, type Play, playSteps, settleOneOf } from './playing.ts';

interface Item {
  id: number;
  bytes: number;
}

const ValidItem = z.object({ id: z.number(), bytes: z.number(), valid: z.literal(true) });

interface Call {
  items: readonly Item[];
  signal: AbortSignal;
  open: boolean;
  settle: (ending: WriteEnding) => void;
}

/** One item, beside what the model says of it. */
interface Submitted {
  outcome: string | undefined;
  readonly model: ModelItem;
  readonly controller: AbortController | undefined;
}

/** What a play was made of, for the report. */
export interface PlayedBatcher {
  batches: number;
  /** What each item came to. */
  outcomes: string[];
  batcher: Batcher<Item, string>;
  /** What must be collected once the play is over. */
  made: WeakRef<object>[];
}

/** Plays `steps` with a batcher and with the model of one, and compares them after each step. */
export function playBatcher(setup: BatcherSetup, steps: readonly BatcherStep[]): Promise<PlayedBatcher> {
  return playSteps(new BatcherPlay(setup), steps);
}

class BatcherPlay implements Play<BatcherStep, PlayedBatcher> {
  readonly #setup: BatcherSetup;
  readonly #model: BatcherModel;
  readonly #clock = new ManualClock();
  readonly #batcher: Batcher<Item, string>;
  readonly #calls: Call[] = [];
  readonly #submitted: Submitted[] = [];
  readonly #waits: { done: boolean; model: ModelWait }[] = [];
  /** Items that the model's batch function has submitted, for the real one to submit after it. */
  readonly #made: Submitted[] = [];
  readonly #refs: WeakRef<object>[] = [];

  constructor(setup: BatcherSetup) {
    this.#setup = setup;
    this.#model = new BatcherModel(setup, () => {
      // The batcher has called its batch function first, and the item is there.
      const next = this.#made.shift();
      if (next === undefined) throw new Error('the model submits what the batcher has not');
      return next.model;
    });
    const { starts: _starts, maxBatchBytes, ...options } = setup;
    this.#batcher = new Batcher<Item, string>((items, { signal }) => this.#call(items, signal), {
      ...options,
      ...(maxBatchBytes !== undefined && { maxBatchBytes, bytesOf: ({ bytes }: Item) => bytes }),
      windowMs: WRITE_WINDOW_MS,
      clock: this.#clock,
    });
  }

  /** Takes a step; a promise only of one that lets promise callbacks or turns pass. */
  step(step: BatcherStep): Promise<void> | undefined {
    if (step.do === 'submit') this.#submit(step.bytes, step.leaves);
    else if (step.do === 'submit when there is room') this.#submitWhenRoom(step.leaves);
    else if (step.do === 'leave') this.#leave(step.which);
    else if (step.do === 'settle') this.#settle(step.which, step.with);
    else if (step.do === 'flush') this.#watch(this.#batcher.flush(), this.#model.flush());
    else if (step.do === 'idle') this.#watch(this.#batcher.onIdle(), this.#model.idle());
    else if (step.do === 'close') this.#watch(this.#batcher.close(), this.#model.close());
    this.#compareCalls();
    const waits =
      ['turn', 'promises', 'advance', 'submit what is valid'].includes(step.do) || ('look' in step && step.look);
    return waits ? this.#wait(step) : undefined;
  }

  /** Closes the batcher and lets everything that is under way come to its end. */
  async end(): Promise<PlayedBatcher> {
    void this.step({ do: 'close' });
    do {
      this.#settle(0, 'results');
      await this.#wait({ do: 'turn' });
    } while (this.#calls.some((call) => call.open));
    const written = this.#calls.flatMap(({ items }) => items.map(({ id }) => id));
    expect(new Set(written).size).toBe(written.length);
    for (const { outcome, model, controller } of this.#submitted) {
      expect(outcome).toBeDefined();
      // What the caller was told of was written; what was refused, or left in time, was not.
      if (outcome?.startsWith(`${model.id} in`)) expect(written).toContain(model.id);
      if (['ERR_CLOSED', 'ERR_OVERLOADED', 'no size'].includes(outcome ?? '')) expect(written).not.toContain(model.id);
      if (controller !== undefined) expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
    }
    for (const { done } of this.#waits) expect(done).toBe(true);
    const { submitted, written: count, failed, aborted, queued, waiting, runningBatches } = this.#batcher.stats();
    expect(submitted).toBe(count + failed + aborted);
    expect([queued, waiting, runningBatches, this.#clock.pendingTimers]).toEqual([0, 0, 0, 0]);
    const outcomes = this.#submitted.map(({ outcome }) => outcome ?? '');
    const batches = this.#calls.length;
    // The batcher holds its batch function and with it the play: what the play remembers must not be laid to the batcher.
    for (const list of [this.#calls, this.#submitted, this.#waits]) list.length = 0;
    return { batches, outcomes, batcher: this.#batcher, made: this.#refs };
  }

  async #wait(step: BatcherStep): Promise<void> {
    if (step.do === 'turn') await this.#turn();
    else if (step.do === 'advance') await this.#advance(step.ms);
    else if (step.do === 'submit what is valid') await this.#submitValid(step.items);
    else await this.#pass();
    this.#compareCalls();
    expectSame(
      [this.#submitted.map(({ outcome }) => outcome), this.#waits.map(({ done }) => done)],
      [this.#submitted.map(({ model }) => model.outcome), this.#waits.map(({ model }) => model.done)],
    );
  }

  #submit(bytes: number, leaves: 'never' | 'later' | 'already'): void {
    const submitted = this.#note(bytes, leaves !== 'never');
    const { controller, model } = submitted;
    if (leaves === 'already') controller?.abort(`left ${model.id}`);
    const item = this.#item(model.id, bytes);
    this.#tell(submitted, this.#batcher.submit(item, controller && { signal: controller.signal }));
    if (leaves === 'already') model.outcome = `left ${model.id}`;
    else this.#model.submit(model);
  }

  #submitWhenRoom(leaves: 'never' | 'later'): void {
    const submitted = this.#note(1, leaves !== 'never');
    const { controller, model } = submitted;
    const options = controller && { signal: controller.signal };
    const item = this.#item(model.id, 1);
    this.#tell(
      submitted,
      this.#batcher.onRoom(options).then(() => this.#batcher.submit(item, options)),
    );
    this.#model.submitWhenRoom(model);
  }

  async #submitValid(items: { bytes: number; valid: boolean }[]): Promise<void> {
    const { valid, errors } = await validateBatch(
      items.map((item, id) => ({ id, ...item })),
      ValidItem,
    );
    expect(valid.map(({ id }) => id)).toEqual([...items.keys()].filter((at) => items[at]?.valid));
    expect(errors.map(({ index, path }) => [index, path])).toEqual(
      [...items.keys()].filter((at) => !items[at]?.valid).map((index) => [index, ['valid']]),
    );
    await this.#pass();
    for (const { bytes } of valid) this.#submit(bytes, 'never');
    await this.#pass();
  }

  #item(id: number, bytes: number): Item {
    const item = { id, bytes };
    this.#refs.push(new WeakRef(item));
    return item;
  }

  #note(bytes: number, leaves: boolean): Submitted {
    const model = { id: this.#submitted.length, bytes, outcome: undefined, place: 0, batch: undefined };
    const submitted = { outcome: undefined, model, controller: leaves ? new AbortController() : undefined };
    this.#submitted.push(submitted);
    return submitted;
  }

  #tell(submitted: Submitted, promise: Promise<string>): void {
    const tell = (what: unknown) => {
      submitted.outcome = shown(what);
    };
    promise.then(tell, tell);
  }

  #watch(promise: Promise<void>, model: ModelWait): void {
    const wait = { done: false, model };
    this.#waits.push(wait);
    void promise.then(() => {
      wait.done = true;
    });
  }

  #leave(which: number): void {
    const may = this.#submitted.filter(
      ({ controller, outcome }) => outcome === undefined && controller?.signal.aborted === false,
    );
    const leaving = may[which % Math.max(1, may.length)];
    if (leaving === undefined) return;
    leaving.controller?.abort(`left ${leaving.model.id}`);
    this.#model.leave(leaving.model, `left ${leaving.model.id}`);
  }

  #settle(which: number, ending: WriteEnding): void {
    settleOneOf(this.#calls, this.#model, which, ending);
  }

  async #pass(): Promise<void> {
    for (let i = 0; i < 200; i += 1) await undefined;
    this.#model.pass();
  }

  async #turn(): Promise<void> {
    for (let i = 0; i < 3; i += 1) await new Promise((resolve) => setImmediate(resolve));
    this.#model.turn();
  }

  async #advance(ms: number): Promise<void> {
    await this.#turn();
    for (let passed = 0; passed < ms; passed += 1) {
      await this.#clock.advance(1);
      this.#model.advance(1);
      await this.#turn();
    }
  }

  #compareCalls(): void {
    const { calls, counts, queue, running } = this.#model;
    const { maxQueued } = this.#setup;
    expectSame(
      {
        calls: this.#calls.map(({ items, signal }) => [items.map(({ id }) => id), signal.aborted]),
        stats: this.#batcher.stats(),
      },
      {
        calls: calls.map(({ items, aborted }) => [items.map(({ id }) => id), aborted]),
        stats: {
          ...counts,
          queued: Math.min(queue.length, maxQueued),
          waiting: Math.max(0, queue.length - maxQueued),
          runningBatches: running.size,
        },
      },
    );
  }

  #call(items: readonly Item[], signal: AbortSignal): Promise<(string | Error)[]> {
    const { starts } = this.#setup;
    const number = this.#calls.length;
    const start = starts[number % starts.length];
    expect(Object.isFrozen(items[0])).toBe(false);
    this.#refs.push(new WeakRef(items), new WeakRef(signal));
    const call: Call = { items, signal, open: start === 'held' || start === 'submits', settle: () => {} };
    this.#calls.push(call);
    if (start === 'submits' && number < MOST_SUBMITTING_CALLS) {
      const submitted = this.#note(1, false);
      this.#made.push(submitted);
      this.#tell(submitted, this.#batcher.submit(this.#item(submitted.model.id, 1)));
    }
    if (start === 'throws') throw new Error('thrown');
    if (start === 'gives no promise') return 7 as never;
    return new Promise((resolve, reject) => {
      call.settle = (ending) => {
        call.open = false;
        if (ending === 'a rejection') reject(new Error(`batch ${number} rejected`));
        else resolve(results(items, number, ending) as string[]);
      };
    });
  }
}

function results(items: readonly Item[], batch: number, ending: WriteEnding): unknown {
  if (ending === 'nothing') return undefined;
  if (ending === 'no array') return {};
  const values = items.map(({ id }) => {
    const outcome = writeOutcome(id, batch, 'results');
    return outcome.startsWith('error') ? new RangeError(outcome) : outcome;
  });
  if (ending === 'too few') return values.slice(1);
  if (ending === 'a sparse array')
    return Object.assign(new Array(values.length), values.length > 1 && { 1: values[1] });
  return values;
}

function shown(what: unknown): string {
  if (!(what instanceof Error)) return String(what);
  if (/bytesOf\(item\) must be/.test(what.message)) return 'no size';
  return (what as { code?: string }).code ?? what.message;
}
