import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { HttpPool, type HttpPoolOptions } from '@x/pools/http';

export interface TestServer {
  url: string;
  sockets: Set<Socket>;
  /** The most connections that were open at once. */
  peak: () => number;
  server: Server;
}

const cleanups: (() => unknown)[] = [];

/** For `afterEach`: closes what the test has opened. */
export async function cleanUp(): Promise<void> {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
}

export async function serve(handler: RequestListener): Promise<TestServer> {
  const sockets = new Set<Socket>();
  let peak = 0;
  const server = createServer({ keepAliveTimeout: 60_000 }, handler);
  server.on('connection', (socket) => {
    sockets.add(socket);
    peak = Math.max(peak, sockets.size);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sockets, peak: () => peak, server };
}

export function open(options: HttpPoolOptions = {}): HttpPool {
  const pool = new HttpPool(options);
  cleanups.push(() => pool.close({ timeoutMs: 0 }));
  return pool;
}

export function atEnd(cleanup: () => unknown): void {
  cleanups.push(cleanup);
}

export const later = (ms: number): Promise<unknown> => new Promise((resolve) => setTimeout(resolve, ms));
