import { expect } from 'vitest';

/** What takes steps one after the other and then ends. */
export interface Play<Step, Played> {
  /** Takes a step; a promise only of one that lets promise callbacks or turns pass. */
  step(step: Step): Promise<void> | undefined;
  /** Lets everything that is under way come to its end. */
  end(): Promise<Played>;
}

export async function playSteps<Step, Played>(play: Play<Step, Played>, steps: readonly Step[]): Promise<Played> {
  for (const step of steps) {
    // Nothing else may let promise callbacks run: the model counts on it.
    const waits = play.step(step);
    if (waits !== undefined) await waits;
  }
  return play.end();
}

/** Settles one of the calls of a batch function that are open, and the model's call beside it. */
export function settleOneOf<Ending, Modelled>(
  calls: readonly { open: boolean; settle: (ending: Ending) => void }[],
  model: { readonly calls: readonly Modelled[]; settle(call: Modelled, ending: Ending): void },
  which: number,
  ending: Ending,
): void {
  const open = calls.filter((call) => call.open);
  const call = open[which % Math.max(1, open.length)];
  if (call === undefined) return;
  const modelled = model.calls[calls.indexOf(call)];
  if (modelled === undefined) throw new Error('a call that the model does not know');
  call.settle(ending);
  model.settle(modelled, ending);
}

/** `toEqual`, which is slow, only where the two differ. */
export function expectSame(actual: unknown, expected: unknown): void {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) expect(actual).toEqual(expected);
}
