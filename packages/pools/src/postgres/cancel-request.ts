import type { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';
import pg from 'pg';

/**
 * Asks the server to stop what a client's backend is doing, over a connection of its own (protocol manual, "Canceling
 * Requests in Progress"). Resolves when the server has closed that connection: only then has the signal been sent, and
 * only then can it no longer hit the query after.
 */
export function requestCancel(
  client: pg.Client,
  stream: pg.ClientConfig['stream'],
  giveUp: AbortSignal,
): Promise<void> {
  const { processID, secretKey, ssl, sslNegotiation } = client as unknown as CancelTarget;
  const socket = new pg.Connection({ ssl, sslNegotiation, stream } as pg.ClientConfig) as unknown as CancelSocket;
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      socket.stream.destroy();
      reject(giveUp.reason);
    };
    giveUp.addEventListener('abort', stop, { once: true });
    const send = (): void => socket.cancel(processID, secretKey);
    socket.on('connect', () => (!ssl ? send() : sslNegotiation === 'direct' ? undefined : socket.requestSsl()));
    socket.on('sslconnect', send);
    socket.on('error', (error) => {
      socket.stream.destroy();
      reject(error);
    });
    socket.on('end', () => {
      giveUp.removeEventListener('abort', stop);
      resolve();
    });
    if (client.host.startsWith('/')) socket.connect(`${client.host}/.s.PGSQL.${client.port}`);
    else socket.connect(client.port, client.host);
  });
}

/** Fields of pg.Client and pg.Connection that its documentation names and its types leave out. */
interface CancelTarget {
  processID: number;
  secretKey: number;
  ssl: unknown;
  sslNegotiation: 'postgres' | 'direct';
}

interface CancelSocket extends EventEmitter {
  readonly stream: Duplex;
  connect(portOrPath: number | string, host?: string): void;
  requestSsl(): void;
  cancel(processID: number, secretKey: number): void;
}
