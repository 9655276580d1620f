import type { Cache, GetOrSetOptions } from './cache.ts';
import type { CacheEntry } from './entry.ts';
import { identify as identifyUser } from './identify.ts';
import { toolKey } from './key.ts';
import { checkLoadOptions, type LoadOptions } from './load-rules.ts';
import type { Loader } from './load-runner.ts';
import { bag, callable, having, optionError } from './option-checks.ts';
import { isConversation, sharedContext, signalOf, type ToolContext } from './tool-context.ts';

/** How long results are fresh, by which tags they are found and so on, as in `getOrSet`. Default the cache's. */
export interface CachedToolOptions extends LoadOptions {
  /** The tool's name, a part of its keys. */
  name: string;
  /** Says that the tool changes nothing, as its `readOnlyHint` does: only then is it cached. Left out, the tool runs uncached and a process warning says so; `false` is silent. */
  readOnly?: boolean | undefined;
  /**
   * Who may share a result. `'user'` (default): one user, told by `identify`; a call without a user is not cached. `'public'`: everybody.
   * A function names the group (a tenant); `undefined` or an empty name is not cached.
   */
  scope?: 'user' | 'public' | ((context: never) => string | undefined) | undefined;
  /** Who the user of a call is. Default `identify` of this module. */
  identify?: ((context: never) => string | undefined) | undefined;
}

/** Any tool handler: `(args, ctx)`, or `(ctx)` for a tool without input. */
export type ToolHandler = (...args: never[]) => unknown;

interface ToolResult {
  isError?: unknown;
  resultType?: unknown;
  inputRequests?: unknown;
  task?: unknown;
  _meta?: Record<string, unknown>;
}

/**
 * A tool handler whose results are kept. Errors and refusals (`isError`) count as failed loads: they reach their callers, stale-if-error
 * covers them, they are never kept. Results that ask for input or stand for a task are not shared at all.
 */
export function cachedTool<Handler extends ToolHandler>(
  cache: Cache,
  handler: Handler,
  options: CachedToolOptions,
): Handler {
  having('cache', ['getOrSetEntry', 'scope'], cache);
  callable('handler', handler);
  const { name, readOnly, scope = 'user', identify = identifyUser, ...storing } = bag('cachedTool options', options);
  toolKey(name, {});
  if (scope !== 'user' && scope !== 'public' && typeof scope !== 'function') {
    throw optionError('scope', "'user', 'public' or a function", scope);
  }
  callable('identify', identify);
  checkLoadOptions(storing);
  if (readOnly !== undefined && typeof readOnly !== 'boolean') throw optionError('readOnly', 'a boolean', readOnly);
  if (readOnly !== true) {
    if (readOnly === undefined) {
      process.emitWarning(`@x/cache: the tool "${name}" runs uncached, because cachedTool was not told readOnly: true`);
    }
    return handler;
  }
  // Refuses now, not at the first call, a cache that cannot have scopes.
  if (scope !== 'public') cache.scope('tool');
  const run = handler as unknown as (...args: unknown[]) => unknown;
  const groupOf = (scope === 'user' ? identify : scope) as ((context: unknown) => string | undefined) | 'public';

  async function cached(...params: unknown[]): Promise<unknown> {
    const context = (params.at(-1) ?? {}) as ToolContext;
    const place = isConversation(context) ? undefined : placeOf(params.length > 1 ? params[0] : {}, context);
    if (place === undefined) return run(...params);
    const load: Loader<unknown> = async ({ signal }) => {
      const shared = sharedContext(context, signal, scope === 'user');
      const result = await run(...params.slice(0, -1), shared);
      const problem = problemOf(result as ToolResult | undefined);
      if (problem !== undefined) throw new UnkeptResult(problem, result);
      return result;
    };
    try {
      const found = await place.cache.getOrSetEntry(place.key, load, { ...storing, signal: signalOf(context) });
      return withProvenance(found);
    } catch (error) {
      if (!(error instanceof UnkeptResult)) throw error;
      // A question to one caller is not put to another: each asks for its own.
      return error.kind === 'refusal' ? error.result : run(...params);
    }
  }

  function placeOf(args: unknown, context: ToolContext): { cache: Keeper; key: string } | undefined {
    const group = groupOf === 'public' ? undefined : groupOf(context);
    if (groupOf !== 'public' && (typeof group !== 'string' || group === '')) return undefined;
    try {
      const key = toolKey(name, args);
      if (group === undefined) return { cache, key };
      // One part, so that each user has a share of memory of their own.
      return { cache: cache.scope(`${scope === 'user' ? 'user' : 'group'} ${group}`), key };
    } catch {
      // Arguments that cannot make a key (a schema may turn text into a Date), or a name that cannot, bypass the cache: never one key for two inputs.
      return undefined;
    }
  }

  return cached as unknown as Handler;
}

interface Keeper {
  getOrSetEntry<T>(key: string, loader: Loader<T>, options?: GetOrSetOptions): Promise<CacheEntry<T>>;
}

/** Carries a result that must not be kept through the cache, as a failed load. */
class UnkeptResult extends Error {
  readonly kind: 'refusal' | 'conversation';
  readonly result: unknown;

  constructor(kind: 'refusal' | 'conversation', result: unknown) {
    super(`the tool's result is a ${kind}`);
    this.kind = kind;
    this.result = result;
  }
}

function problemOf(result: ToolResult | undefined): 'refusal' | 'conversation' | undefined {
  if (typeof result !== 'object' || result === null) return undefined;
  if (result.isError === true || result._meta?.['x/error'] !== undefined) return 'refusal';
  const { resultType } = result;
  const complete = resultType === undefined || resultType === 'complete';
  return complete && result.inputRequests === undefined && result.task === undefined ? undefined : 'conversation';
}

/** The result with its origin under `_meta['x/cache']`; the kept one is not touched. */
function withProvenance({ value, tier, ageMs, stale }: CacheEntry): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const { _meta } = value as ToolResult;
  return { ...value, _meta: { ..._meta, 'x/cache': { tier, ageMs: Math.round(ageMs), stale } } };
}
