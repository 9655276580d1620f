import { requestCancel } from './cancel-request.ts';
import type { PgConnection } from './pg-connection.ts';
import type { ConnectionSettings } from './pool-options.ts';

/**
 * Asks the server to stop what a connection runs, until everything that was sent over it has been answered. A connection of
 * which that is not known in time is destroyed.
 */
export async function cancelUntilAnswered(connection: PgConnection, settings: ConnectionSettings): Promise<void> {
  const { clock, cancelTimeoutMs, config } = settings;
  const giveUp = new AbortController();
  const timer = clock.setTimeout(
    () => giveUp.abort(new Error('The server did not confirm the cancel request')),
    cancelTimeoutMs,
  );
  try {
    while (!connection.answered && connection.broken === undefined) {
      await requestCancel(connection.client, config.stream, giveUp.signal);
      // A request that overtakes the query finds the backend idle and does nothing: it is sent again.
      await connection.untilAnswered(cancelAgainMs);
      giveUp.signal.throwIfAborted();
    }
  } catch {
    connection.destroy();
  } finally {
    clock.clearTimeout(timer);
  }
}

/** How long the answer to a cancel request may take before it is sent again. */
const cancelAgainMs = 200;
