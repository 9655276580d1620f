import { AsyncLocalStorage } from 'node:async_hooks';
import type { Loader } from './load-runner.ts';
import { having } from './option-checks.ts';

/** Loads many keys at once; the answers stand in the order of the keys, or by key in a Map. */
export type LoadMany<T> = (
  keys: readonly string[],
  context: { readonly signal: AbortSignal },
) => LoadedMany<T> | PromiseLike<LoadedMany<T>>;

export type LoadedMany<T> = readonly (T | Error)[] | ReadonlyMap<string, T | Error>;

/**
 * Resolves every key by `resolve`, whose loaders are gathered into one call of `loadMany`: it is made when each key either has asked for
 * its load or was answered otherwise (another caller's load, another process's value).
 */
export async function batchOf<T>(
  keys: readonly string[],
  loadMany: LoadMany<T>,
  resolve: (key: string, loader: Loader<unknown>) => Promise<unknown>,
): Promise<Map<string, unknown>> {
  const wanted: { key: string; signal: AbortSignal; answer: (answer: unknown) => void }[] = [];
  let undecided = keys.length;
  // That of the loaders, which is the cache's own: the last to decide may be this caller.
  let inOwnContext: ReturnType<typeof AsyncLocalStorage.snapshot> | undefined;
  const decided = () => {
    if (--undecided === 0) void inOwnContext?.(loadAll);
  };

  async function loadAll(): Promise<void> {
    const controller = new AbortController();
    let aborted = 0;
    for (const { signal } of wanted) {
      const leave = () => {
        if (++aborted === wanted.length) controller.abort(signal.reason);
      };
      if (signal.aborted) leave();
      else signal.addEventListener('abort', leave, { once: true });
    }
    const asked = wanted.map(({ key }) => key);
    let answers: unknown[];
    try {
      const byKey = answersByKey(asked, await loadMany(asked, { signal: controller.signal }));
      answers = asked.map((key) => byKey.get(key));
    } catch (error) {
      answers = asked.map(() => Promise.reject(error));
    }
    for (const [index, { answer }] of wanted.entries()) answer(answers[index]);
  }

  const results = await Promise.allSettled(
    keys.map(async (key) => {
      let asking = false;
      let answered = false;
      const loader: Loader<unknown> = async ({ signal }) => {
        asking = true;
        inOwnContext ??= AsyncLocalStorage.snapshot();
        // The batch has left: a refresh in the background that had to ask elsewhere first.
        if (undecided <= 0) return alone(key, loadMany, signal);
        const answer = await new Promise<unknown>((answer) => {
          wanted.push({ key, signal, answer });
          if (!answered) decided();
        });
        if (answer instanceof Error) throw answer;
        return answer;
      };
      try {
        return await resolve(key, loader);
      } finally {
        // A refresh in the background may still ask; the batch does not wait for it.
        answered = true;
        if (!asking) decided();
      }
    }),
  );
  return new Map(
    results.map((result, index) => [
      keys[index] as string,
      result.status === 'fulfilled' ? result.value : asError(result.reason),
    ]),
  );
}

async function alone<T>(key: string, loadMany: LoadMany<T>, signal: AbortSignal): Promise<unknown> {
  const answer = answersByKey([key], await loadMany([key], { signal })).get(key);
  if (answer instanceof Error) throw answer;
  return answer;
}

/** What was answered, by key; throws on what is no answer. */
export function answersByKey<T>(keys: readonly string[], answers: LoadedMany<T>): ReadonlyMap<string, T | Error> {
  if (!Array.isArray(answers)) return having("loadMany's answer", ['get'], answers as ReadonlyMap<string, T | Error>);
  if (answers.length !== keys.length) {
    throw new TypeError(
      `@x/cache: loadMany must answer every key in order, expected ${keys.length} answers, got ${answers.length}`,
    );
  }
  return new Map(keys.map((key, index) => [key, answers[index] as T | Error]));
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error('@x/cache: the load failed', { cause: reason });
}
