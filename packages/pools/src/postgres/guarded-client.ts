import type { Duplex } from 'node:stream';
import pg from 'pg';

/**
 * A pg.Client that an answer which makes no sense costs its connection. pg reads answers in a listener of the socket, so
 * that what its parser throws (a message cut short, a way to log in that it does not know) would end the process.
 */
export function guardedClient(config: pg.ClientConfig): pg.Client {
  const client = new pg.Client(config);
  const connection = client.connection as unknown as Reader;
  const attach = connection.attachListeners.bind(connection);
  connection.attachListeners = (stream: Duplex) => {
    const on = (event: string, listener: Listener) =>
      stream.on(event, event === 'data' ? guarded(stream, listener) : listener);
    attach({ on });
  };
  return client;
}

function guarded(stream: Duplex, read: Listener): Listener {
  return (chunk) => {
    try {
      read(chunk);
    } catch (error) {
      stream.destroy(error as Error);
    }
  };
}

/** An error message without a SQLSTATE is none of PostgreSQL's: it is how pg calls a message of a kind it does not know. */
export function isNonsense(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === undefined;
}

type Listener = (chunk: Buffer) => void;

/** What pg.Connection has and its types leave out. */
interface Reader {
  attachListeners(stream: { on(event: string, listener: Listener): unknown }): void;
}
