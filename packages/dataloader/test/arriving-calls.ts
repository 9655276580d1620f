import { once } from 'node:events';
import type { Server as HttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import process from 'node:process';
import { createLoaders, DataLoader, type Schedule } from '@x/dataloader';
import { expect } from 'vitest';

export const CALLS = 20;

/** What a test needs of a client of either line of the SDK. */
interface ToolCaller {
  callTool(call: { name: string; arguments: Record<string, unknown> }): Promise<unknown>;
}

/** Loaders as an application has them: made once, a view for each call. A query takes `queryMs`. */
export function userService(schedule: Schedule, queryMs: number) {
  const batches: (readonly string[])[] = [];
  const loaders = createLoaders(() => ({
    users: new DataLoader<string, string>(
      async (ids) => {
        batches.push(ids);
        if (queryMs > 0) await new Promise((resolve) => setTimeout(resolve, queryMs));
        return ids.map((id) => `user ${id}`);
      },
      { schedule },
    ),
  }));
  return {
    batches,
    /** What the tool `get_user` answers. */
    async getUser(id: string, ctx: object, signal: AbortSignal) {
      return { content: [{ type: 'text' as const, text: await loaders.for(ctx).users.load(id, { signal }) }] };
    },
  };
}

export type UserService = ReturnType<typeof userService>;

/** Listens on a free port of this machine. */
export async function listening(server: HttpServer | Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/**
 * The SDK's stdio client starts a process and talks through its pipes. That process hands the bytes on to a stdio server in
 * this one, where the batches can be seen and the source runs as it is.
 */
export async function stdioRelay(serve: (socket: Socket) => unknown) {
  const tcp = createServer((socket) => void serve(socket));
  const port = await listening(tcp);
  const relay = `const s = require('node:net').connect(${port}, '127.0.0.1'); process.stdin.pipe(s).pipe(process.stdout);`;
  return { command: process.execPath, args: ['-e', relay], close: () => void tcp.close() };
}

/** The fewest batches that 20 parallel calls made in three rounds: a machine that stalls between two arrivals splits any window. */
export async function fewestBatches(client: ToolCaller, { batches }: UserService): Promise<number> {
  const counts: number[] = [];
  for (let round = 0; round <= 3; round += 1) {
    batches.length = 0;
    const results = await Promise.all(
      Array.from({ length: CALLS }, (_, i) => client.callTool({ name: 'get_user', arguments: { id: String(i) } })),
    );
    expect(results.map((result) => (result as { content: { text: string }[] }).content[0]?.text)).toEqual(
      Array.from({ length: CALLS }, (_, i) => `user ${i}`),
    );
    expect(batches.flat()).toHaveLength(CALLS);
    // The first round opens the client's connections.
    if (round > 0) counts.push(batches.length);
  }
  return Math.min(...counts);
}
