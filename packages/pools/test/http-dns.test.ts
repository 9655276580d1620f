import type { LookupAddress } from 'node:dns';
import type { LookupAll } from '@x/pools/http';
import { ManualClock } from '@x/testkit';
import { afterEach, describe, expect, it } from 'vitest';
import { cleanUp, open, serve } from './http-server.ts';

afterEach(cleanUp);

/** A resolver whose answers the test gives, and what it was asked. */
function resolver(...answers: (readonly string[] | string)[]) {
  const asked: string[] = [];
  const lookup: LookupAll = (hostname, _options, callback) => {
    asked.push(hostname);
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    setImmediate(() => {
      if (typeof answer === 'string') return callback(Object.assign(new Error(answer), { code: answer }), []);
      const addresses = (answer ?? []).map(
        (address): LookupAddress => ({ address, family: address.includes(':') ? 6 : 4 }),
      );
      callback(null, addresses);
    });
  };
  return { lookup, asked };
}

/** Every request over a connection of its own. */
async function server() {
  const { url, peak } = await serve((_request, response) => response.setHeader('connection', 'close').end('ok'));
  return { port: new URL(url).port, peak };
}

describe('what a name resolves to', () => {
  it('is asked once for many connections, and again when its time is over', async () => {
    const { port } = await server();
    const { lookup, asked } = resolver(['127.0.0.1']);
    const clock = new ManualClock();
    const http = open({ lookup, clock, dnsCacheMs: 1_000 });
    const get = async (name = 'api.example') => (await http.get(`http://${name}:${port}/`)).text();
    expect(await Promise.all(Array.from({ length: 20 }, () => get()))).toEqual(Array(20).fill('ok'));
    expect(asked).toEqual(['api.example']);
    await get('other.example');
    await clock.advance(999);
    await get();
    expect(asked).toHaveLength(2);
    await clock.advance(1);
    await get();
    expect(asked).toEqual(['api.example', 'other.example', 'api.example']);
  });

  it('is asked for each connection with dnsCacheMs: 0', async () => {
    const { port } = await server();
    const { lookup, asked } = resolver(['127.0.0.1']);
    const http = open({ lookup, dnsCacheMs: 0 });
    for (let n = 0; n < 3; n++) await (await http.get(`http://api.example:${port}/`)).text();
    expect(asked).toHaveLength(3);
    expect(() => open({ dnsCacheMs: -1 })).toThrow('@x/pools: HttpPool.dnsCacheMs must be a number >= 0');
  });

  it('is asked again after a connection that failed', async () => {
    const { port } = await server();
    // Nobody listens at 127.0.0.2 on that port: the service has moved, and the name with it.
    const { lookup, asked } = resolver(['127.0.0.2'], ['127.0.0.1']);
    const http = open({ lookup });
    await expect(http.get(`http://api.example:${port}/`)).rejects.toMatchObject({ code: 'ERR_UNREACHABLE' });
    expect(await (await http.get(`http://api.example:${port}/`)).text()).toBe('ok');
    expect(asked).toHaveLength(2);
  });

  it('is still used when the resolver fails, but not when it says that there is no such name', async () => {
    const { port } = await server();
    const { lookup, asked } = resolver(['127.0.0.1'], 'EAI_AGAIN', 'ENOTFOUND', 'EAI_AGAIN');
    const clock = new ManualClock();
    const http = open({ lookup, clock, dnsCacheMs: 1_000 });
    const get = async () => (await http.get(`http://api.example:${port}/`)).text();
    await get();
    await clock.advance(1_000);
    expect(await get()).toBe('ok');
    await expect(get()).rejects.toMatchObject({ code: 'ERR_UNREACHABLE', cause: { code: 'ENOTFOUND' } });
    await expect(get()).rejects.toMatchObject({ code: 'ERR_UNREACHABLE', cause: { code: 'EAI_AGAIN' } });
    expect(asked).toHaveLength(4);
  });

  it('is held to the egress policy at every connection, known or not', async () => {
    const { port, peak } = await server();
    const { lookup, asked } = resolver(['127.0.0.1']);
    const http = open({ lookup, egress: {} });
    for (let n = 0; n < 3; n++) {
      await expect(http.get(`http://api.example:${port}/`)).rejects.toMatchObject({ code: 'ERR_EGRESS_DENIED' });
    }
    expect(asked.length).toBeGreaterThan(0);
    expect(peak()).toBe(0);
  });
});

describe('the cache of names', () => {
  // An internal of the package, tested as it is: which address comes first cannot be seen from outside.
  async function cache(...answers: Parameters<typeof resolver>) {
    const { DnsCache } = (await import(new URL('../src/http/dns-cache.ts', import.meta.url).href)) as {
      DnsCache: new (lookup: LookupAll, ttlMs: number, clock: ManualClock) => { lookup: LookupAll };
    };
    const { lookup, asked } = resolver(...answers);
    const names = new DnsCache(lookup, 1_000, new ManualClock());
    const ask = (hostname: string) =>
      new Promise<string[]>((resolve, reject) =>
        names.lookup(hostname, { all: true }, (error, addresses) =>
          error ? reject(error) : resolve(addresses.map(({ address }) => address)),
        ),
      );
    return { ask, asked };
  }

  it('lets the connections take turns at the addresses of a name, the preferred family first', async () => {
    const { ask } = await cache(['::1', '::2', '127.0.0.1', '127.0.0.2', '127.0.0.3']);
    expect(await ask('api.example')).toEqual(['::1', '::2', '127.0.0.1', '127.0.0.2', '127.0.0.3']);
    expect(await ask('api.example')).toEqual(['::2', '::1', '127.0.0.2', '127.0.0.3', '127.0.0.1']);
    expect(await ask('api.example')).toEqual(['::1', '::2', '127.0.0.3', '127.0.0.1', '127.0.0.2']);
  });

  it('remembers a thousand names at most, those last asked for', async () => {
    const { ask, asked } = await cache(['127.0.0.1']);
    for (let n = 0; n < 1_000; n++) await ask(`${n}.example`);
    await ask('0.example');
    await ask('new.example');
    expect(asked).toHaveLength(1_001);
    await ask('0.example');
    expect(asked).toHaveLength(1_001);
    await ask('1.example');
    expect(asked).toHaveLength(1_002);
  });
});
