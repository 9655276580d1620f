import { Dispatcher } from 'undici';
import type { Connections } from './connections.ts';
import { EarlyController } from './early-controller.ts';
import { isSafe } from './hop.ts';
import type { Connection, Exchange } from './origin.ts';

/** undici's interface to the connections of a pool, for `fetch`: limits and egress policy hold, the rest is fetch's own. */
export class PoolDispatcher extends Dispatcher {
  readonly #connections: Connections;

  constructor(connections: Connections) {
    super();
    this.#connections = connections;
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    let early: EarlyController | undefined;
    /** Lets the handler abort before undici does. */
    const stopsBy = (stop: () => void): void => {
      const stopAndTell = (reason: Error): void => {
        // Before it is stopped: undici may tell the handler of that at once, as the second one to do so.
        if (early !== undefined) early.told = true;
        stop();
        tell(handler, reason);
      };
      if (early === undefined) {
        early = new EarlyController(stopAndTell);
        announce(handler, early);
      } else early.stopsBy(stopAndTell);
    };
    const exchange: Exchange = {
      exclusive: !isSafe(options.method) || (options.body ?? null) !== null,
      start: (connection) => {
        if (!connection.connected) {
          stopsBy(() => this.#connections.abandon(connection, early?.reason ?? new Error('aborted')));
        }
        const leave = (failed: boolean) => this.#connections.leave(connection, failed);
        connection.client.dispatch(options, forwarding(handler, connection, early, leave));
      },
      fail: (error) => tell(handler, error),
    };
    try {
      const url = new URL(String(options.origin));
      const dequeue = this.#connections.enter(url, url.origin, exchange);
      if (dequeue !== undefined) stopsBy(dequeue);
    } catch (error) {
      // fetch expects its handler to be told later, not while it is still dispatching.
      queueMicrotask(() => tell(handler, error as Error));
    }
    return true;
  }

  /** The pool owns the connections: close the pool instead. */
  override async close(): Promise<void> {}
  override async destroy(): Promise<void> {}
}

const noController: Dispatcher.DispatchController = {
  aborted: false,
  paused: false,
  reason: null,
  abort() {},
  pause() {},
  resume() {},
};

function tell(handler: Dispatcher.DispatchHandler, error: Error): void {
  if (handler.onRequestStart !== undefined) handler.onResponseError?.(noController, error);
  else handler.onError?.(error);
}

function announce(handler: Dispatcher.DispatchHandler, controller: EarlyController): void {
  if (handler.onRequestStart !== undefined) handler.onRequestStart(controller, null);
  else handler.onConnect?.((reason?: Error) => controller.abort(reason ?? new Error('aborted')));
}

/** The caller's handler in either of undici's two forms (the fetch of Node 20 speaks the older one), with an ear for the end. */
function forwarding(
  handler: Dispatcher.DispatchHandler,
  connection: Connection,
  early: EarlyController | undefined,
  leave: (failed: boolean) => void,
): Dispatcher.DispatchHandler {
  const wrapper = Object.create(handler) as Record<string, unknown>;
  for (const name of methods) {
    const method = handler[name] as ((...args: unknown[]) => unknown) | undefined;
    if (typeof method === 'function') wrapper[name] = method.bind(handler);
  }
  if (early !== undefined) {
    // It was told of its start when it began to wait.
    wrapper.onRequestStart &&= (controller: Dispatcher.DispatchController) =>
      early.stopsBy((reason) => controller.abort(reason));
    wrapper.onConnect &&= (abort: (reason?: Error) => void) => early.stopsBy(abort);
  }
  let left = false;
  for (const name of last) {
    const method = handler[name] as ((...args: unknown[]) => unknown) | undefined;
    if (typeof method !== 'function') continue;
    wrapper[name] = (...args: unknown[]) => {
      if (!left) {
        left = true;
        // An upgraded connection carries no more requests.
        if (name === 'onUpgrade' || name === 'onRequestUpgrade') connection.connected = false;
        leave(name === 'onError' || name === 'onResponseError');
      }
      return early?.told === true ? undefined : method.apply(handler, args);
    };
  }
  return wrapper as Dispatcher.DispatchHandler;
}

const last = [
  'onResponseEnd',
  'onResponseError',
  'onRequestUpgrade',
  'onComplete',
  'onError',
  'onUpgrade',
] as const satisfies readonly (keyof Dispatcher.DispatchHandler)[];

const methods = [
  'onRequestStart',
  'onResponseStart',
  'onResponseData',
  'onConnect',
  'onHeaders',
  'onData',
  'onBodySent',
  'onResponseStarted',
] as const satisfies readonly (keyof Dispatcher.DispatchHandler)[];
