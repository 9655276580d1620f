import type { PgConnection } from './pg-connection.ts';

/** Makes the session of a connection as new. */
export async function resetSession(connection: PgConnection, timeoutMs: number): Promise<void> {
  const { client, record } = connection;
  if (!record.statementsChanged) {
    await connection.run({ text: resetAll }, timeoutMs, undefined);
    return;
  }
  await connection.run({ text: `${resetAll}; DEALLOCATE ALL` }, timeoutMs, undefined);
  (client.connection as unknown as Preparing).parsedStatements = {};
}

/** DISCARD ALL, but prepared statements stay: the client remembers which ones it has made. */
const resetAll =
  'CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES';

/** What pg.Connection has and its types leave out: what the client has prepared, as far as it knows. */
interface Preparing {
  parsedStatements: object;
}
