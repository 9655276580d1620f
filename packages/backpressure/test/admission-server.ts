import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { type AdmissionOptions, type RequestHandler, withAdmission } from '@x/backpressure/http';
import { afterEach, beforeEach } from 'vitest';

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** Has `cleanup` done when the test is over, however it ended. */
export function afterTest(cleanup: () => void): void {
  cleanups.push(cleanup);
}

/** A server with a gate before `handler`. */
export async function serve(
  handler: RequestHandler,
  options: AdmissionOptions,
  serverOptions: ServerOptions = {},
): Promise<{ url: string; port: number; server: Server; connections: Socket[] }> {
  const server = createServer(serverOptions, withAdmission(handler, options));
  const connections: Socket[] = [];
  server.on('connection', (socket) => connections.push(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, port, server, connections };
}

/** A connection on which any bytes may be sent. */
export async function openRaw(port: number): Promise<{ socket: Socket; text: () => string; closed: Promise<unknown> }> {
  const socket = connect(port, '127.0.0.1');
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  socket.on('error', () => {});
  const closed = new Promise((resolve) => socket.once('close', resolve));
  await once(socket, 'connect');
  cleanups.push(() => socket.destroy());
  return { socket, text: () => text, closed };
}

/** What was thrown, or rejected with, and left to nobody, in each test of the file that calls this. */
export function watchUncaught(): readonly unknown[] {
  const uncaught: unknown[] = [];
  const onUncaught = (error: unknown): void => void uncaught.push(error);
  beforeEach(() => {
    uncaught.length = 0;
    process.on('uncaughtException', onUncaught);
    process.on('unhandledRejection', onUncaught);
  });
  afterEach(() => {
    process.off('uncaughtException', onUncaught);
    process.off('unhandledRejection', onUncaught);
  });
  return uncaught;
}

/** A handler that answers when the test says so. */
export function held() {
  const requests: IncomingMessage[] = [];
  const responses: ServerResponse[] = [];
  const handler = (request: IncomingMessage, response: ServerResponse): void => {
    requests.push(request);
    responses.push(response);
  };
  return { handler, requests, responses };
}

export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}
