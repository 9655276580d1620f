import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

const signals = new WeakMap<ServerResponse, AbortSignal>();

/**
 * A signal that aborts when the client has gone, or its connection was cut, before the response was ended. To be given to
 * whatever is done for this response: then nobody works on for a client that is not there any more. One for each response,
 * however often it is asked for; it works under `withAdmission` and without it, in an Express handler too.
 */
export function requestSignal(request: IncomingMessage, response: ServerResponse): AbortSignal {
  const known = signals.get(response);
  if (known !== undefined) return known;
  const controller = new AbortController();
  signals.set(response, controller.signal);
  const end = (): void => {
    if (!response.writableEnded) controller.abort();
  };
  if (isOver(request, response)) end();
  else onceOver(request, response, end);
  return controller.signal;
}

/** Whether the work done for this response is told when its client has gone. */
export function hasRequestSignal(response: ServerResponse): boolean {
  return signals.has(response);
}

/**
 * Whether `error` only says that the client has gone: as the request did to one who was reading its body, or as `requestSignal`
 * did, as it is or as Node's own functions hand it on.
 */
export function isDisconnect(request: IncomingMessage, response: ServerResponse, error: unknown): boolean {
  if (request.errored === error && isReset(error) && isOver(request, response)) return true;
  const signal = signals.get(response);
  if (signal?.aborted !== true) return false;
  if (signal.reason === error) return true;
  try {
    const { name, cause } = (error ?? {}) as Partial<Error>;
    return name === 'AbortError' && cause === signal.reason;
  } catch {
    // Its properties may be getters that throw.
    return false;
  }
}

/**
 * Calls `fn` once, when the last byte of the response was handed over, or the client has gone before that; returns what
 * takes this back.
 */
export function onceOver(request: IncomingMessage, response: ServerResponse, fn: () => void): () => void {
  // A pipelined request's response has no socket until it is its turn, and Node does not tell it of a connection that ends before.
  const socket = response.socket === null ? socketOf(request) : undefined;
  const forget = (): void => {
    response.off('close', over);
    socket?.off('close', lost);
  };
  const over = (): void => {
    forget();
    fn();
  };
  const lost = (): void => {
    if (!response.destroyed) {
      response.destroy();
      // Whoever writes to it would wait for ever, and hold a permit: `pipeline` for one ends only by this. Node 24 says it itself.
      process.nextTick(() => response.closed || response.emit('close'));
    }
    over();
  };
  response.once('close', over);
  // One for each request that is pipelined: eleven of them are no leak, and Node would print a warning.
  socket?.setMaxListeners(0).once('close', lost);
  return forget;
}

/** Also where the response was never told, since the connection ended before its turn. */
export function isOver(request: IncomingMessage, response: ServerResponse): boolean {
  return response.closed || (response.socket ?? socketOf(request))?.destroyed === true;
}

/** Node takes it from a request that `pipeline` destroys, since the answer still needs it. */
export function socketOf(request: IncomingMessage): Socket | undefined {
  return (request.socket as Socket | null) ?? undefined;
}

/** What Node tells the reader of a body whose sender has gone; an error of the reader's own may have destroyed the request as well. */
function isReset(error: unknown): boolean {
  return (error as { code?: unknown } | null | undefined)?.code === 'ECONNRESET';
}
