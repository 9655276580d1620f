import type { PoolError } from '../errors.ts';
import { connectError, connectTimeout, type Destination } from './connect-error.ts';
import { guardedClient } from './guarded-client.ts';
import { PgConnection } from './pg-connection.ts';
import type { ConnectionSettings } from './pool-options.ts';

/** Makes a connection, login included, within the time that it may take. Rejects with what is wrong, and leaves nothing open. */
export function openConnection(settings: ConnectionSettings): Promise<PgConnection> {
  const { config, connectTimeoutMs, clock } = settings;
  return new Promise((resolve, reject) => {
    const client = guardedClient(config);
    const connection = new PgConnection(client, settings);
    const to: Destination = { host: client.host, port: client.port, database: client.database, user: client.user };
    const fail = (error: PoolError): void => {
      clock.clearTimeout(timer);
      connection.onBroken = undefined;
      reject(error);
      connection.destroy();
    };
    const timer = clock.setTimeout(() => fail(connectTimeout(to, connectTimeoutMs)), connectTimeoutMs);
    // Some failures to log in are told by an event alone.
    connection.onBroken = () => fail(connectError(connection.broken, to));
    client.connect().then(
      () => {
        clock.clearTimeout(timer);
        connection.onBroken = undefined;
        resolve(connection);
      },
      (error: unknown) => fail(connectError(error, to)),
    );
  });
}
