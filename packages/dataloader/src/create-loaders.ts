import { type DataLoader, viewOf } from './data-loader.ts';
import type { Loader } from './loader-view.ts';
import { wrongOption } from './option-checks.ts';

/** The loaders that a factory makes, by name. */
// biome-ignore lint/suspicious/noExplicitAny: loaders of all kinds of keys and values together; `for` gives each its own types back
export type LoaderSet = Record<string, DataLoader<any, any, any>>;

/** A request's views of the loaders, by the same names. */
export type LoaderViews<Set extends LoaderSet> = {
  readonly [Name in keyof Set]: Set[Name] extends DataLoader<infer K, infer V, infer _C> ? Loader<K, V> : never;
};

/** The loaders themselves (for `stats()`), and `for`. */
export type SharedLoaders<Set extends LoaderSet> = Readonly<Set> & {
  /**
   * The loaders as the request of `ctx` sees them: with a cache of its own, over batches that all requests share. The
   * same `ctx` gets the same views; they go when it goes. `ctx` is also what `partition` is asked with.
   */
  for(ctx: object): LoaderViews<Set>;
};

/**
 * Loaders that requests share safely: `factory` runs once, so that keys of requests which arrive together make one
 * batch, and no request sees what another has cached.
 */
export function createLoaders<Set extends LoaderSet>(factory: () => Set): SharedLoaders<Set> {
  const loaders = factory();
  if ('for' in loaders) throw new TypeError('@x/dataloader: createLoaders: no loader can be named "for"');
  const views = new WeakMap<object, LoaderViews<Set>>();
  return {
    ...loaders,
    for(ctx: object): LoaderViews<Set> {
      if (typeof ctx !== 'object' || ctx === null) throw wrongOption('for(ctx)', 'given an object', ctx);
      let view = views.get(ctx);
      if (view === undefined) {
        view = createViews(loaders, ctx);
        views.set(ctx, view);
      }
      return view;
    },
  };
}

// Views are made when they are asked for: a request seldom needs all loaders. They must not hold `ctx` from the values
// of the WeakMap in a way that keeps it: a value that only its own key reaches is freed with it.
function createViews<Set extends LoaderSet>(loaders: Set, ctx: object): LoaderViews<Set> {
  const views = {};
  for (const [name, loader] of Object.entries(loaders)) {
    Object.defineProperty(views, name, {
      enumerable: true,
      configurable: true,
      get() {
        const view = viewOf(loader, ctx);
        Object.defineProperty(views, name, { value: view, enumerable: true });
        return view;
      },
    });
  }
  return views as LoaderViews<Set>;
}
