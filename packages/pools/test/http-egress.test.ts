import type { LookupAddress } from 'node:dns';
import type { LookupAll } from '@x/pools/http';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { cleanUp, open, serve } from './http-server.ts';

afterEach(cleanUp);

const denied = { code: 'ERR_EGRESS_DENIED' };
const resolveTo =
  (...addresses: string[]): LookupAll =>
  (_hostname, _options, callback) =>
    callback(
      null,
      addresses.map((address): LookupAddress => ({ address, family: address.includes(':') ? 6 : 4 })),
    );

describe('an egress policy', () => {
  it('refuses private addresses in any spelling', async () => {
    const { url, peak } = await serve((_request, response) => response.end('secret'));
    const { port } = new URL(url);
    const http = open({ egress: {} });
    const spellings = [
      '127.0.0.1',
      '2130706433',
      '0x7f000001',
      '0x7f.1',
      '0177.0.0.1',
      '127.1',
      '0.0.0.0',
      '0',
      '[::1]',
      '[::]',
      '[::ffff:127.0.0.1]',
      '[::ffff:7f00:1]',
      '[::127.0.0.1]',
      '[64:ff9b::7f00:1]',
      '10.0.0.1',
      '172.16.0.1',
      '192.168.1.1',
      '169.254.169.254',
      '100.100.100.200',
      '168.63.129.16',
      '[fe80::1]',
      '[fd00:ec2::254]',
      '[fec0::1]',
      '255.255.255.255',
      '224.0.0.1',
      '１２７.０.０.１',
      '127.0.0.1.',
      '0x7f000001.',
      '[::ffff:a9fe:a9fe]',
      '[64:ff9b:1::7f00:1]',
      '[3fff::1]',
      '192.0.0.192',
    ];
    for (const host of spellings) await expect(http.get(`http://${host}:${port}/`), host).rejects.toMatchObject(denied);
    expect(peak()).toBe(0);
    expect(http.stats()).toMatchObject({ connections: 0, failures: { ERR_EGRESS_DENIED: spellings.length } });
  });

  it('refuses a private address before there is a connection for it, and once more as it is made', async () => {
    const { url } = await serve((_request, response) => void setTimeout(() => response.end('ok'), 50));
    const http = open({ egress: { allowOrigins: [url] }, maxConnections: 1 });
    const running = http.get(url);
    await expect(http.get('http://127.0.0.2:1/')).rejects.toMatchObject(denied);
    // Nobody has waited for the only connection, which is out all this time.
    expect(http.stats()).toMatchObject({ inFlight: 1, queued: 0 });
    expect(await (await running).text()).toBe('ok');

    const { Connector } = (await import(new URL('../src/http/connector.ts', import.meta.url).href)) as {
      Connector: new (
        ...args: unknown[]
      ) => {
        for(origin: string, rule: (address: string) => void, onProtocol: () => void): Connect;
      };
    };
    type Connect = (options: object, callback: (error: unknown, socket: unknown) => void) => void;
    const rule = (address: string): void => {
      throw new Error(`refused ${address}`);
    };
    const connector = new Connector({ http2: false, connectTimeoutMs: 1_000 }, { lookup: () => {} }, () => {});
    const connect = connector.for(url, rule, () => {});
    const options = { hostname: '127.0.0.1', host: '127.0.0.1', protocol: 'http:', port: new URL(url).port };
    const error = await new Promise((resolve) => connect(options, resolve));
    expect(error).toMatchObject({ message: 'refused 127.0.0.1' });
  });

  it('refuses names that resolve to private addresses, alone or among public ones', async () => {
    const { url, peak } = await serve((_request, response) => response.end('secret'));
    const { port } = new URL(url);
    for (const addresses of [
      ['127.0.0.1'],
      ['93.184.216.34', '127.0.0.1'],
      ['::ffff:127.0.0.1'],
      ['::1'],
      ['169.254.169.254'],
    ]) {
      const http = open({ egress: {}, lookup: resolveTo(...addresses) });
      await expect(http.get(`http://innocent.example:${port}/`)).rejects.toMatchObject(denied);
      await http.close();
    }
    await expect(open({ egress: {} }).get(`http://localhost:${port}/`)).rejects.toMatchObject(denied);
    expect(peak()).toBe(0);
  });

  it('resolves once and connects to what it has checked', async () => {
    const { url, peak } = await serve((_request, response) => response.end('secret'));
    const { port } = new URL(url);
    let lookups = 0;
    const http = open({
      egress: {},
      connectTimeoutMs: 200,
      // TEST-NET-3 is not routed; a rebinding resolver answers the second question with loopback.
      lookup: (hostname, options, callback) =>
        resolveTo(lookups++ === 0 ? '1.0.0.0' : '127.0.0.1')(hostname, options, callback),
    });
    await expect(http.get(`http://rebinding.example:${port}/`)).rejects.toThrow();
    await expect(http.get(`http://rebinding.example:${port}/`)).rejects.toMatchObject(denied);
    expect(lookups).toBe(2);
    expect(peak()).toBe(0);
  });

  it('lets exactly the listed origins be where they are', async () => {
    const { url } = await serve((_request, response) => response.end('ok'));
    const other = await serve((_request, response) => response.end('secret'));
    const http = open({ egress: { allowOrigins: [url] } });
    expect(await (await http.get(`${url}/path`)).text()).toBe('ok');
    expect(await (await http.get(url.replace('127.0.0.1', '2130706433'))).text()).toBe('ok');
    await expect(http.get(other.url)).rejects.toMatchObject(denied);
    await expect(http.get(url.replace('http:', 'https:'))).rejects.toMatchObject(denied);
    await expect(http.get(url.replace('127.0.0.1', 'localhost'))).rejects.toMatchObject(denied);
    expect(other.peak()).toBe(0);
  });

  it('lets an origin listed by name be at public addresses, and says what to list for any other', async () => {
    const { url, peak } = await serve((_request, response) => response.end('secret'));
    const { port } = new URL(url);
    const named = `http://api.example:${port}`;
    for (const [addresses, also] of [
      [['127.0.0.1'], `http://127.0.0.1:${port}`],
      [['10.1.2.3'], `http://10.1.2.3:${port}`],
      [['93.184.216.34', '10.1.2.3'], `http://10.1.2.3:${port}`],
      [['169.254.169.254'], `http://169.254.169.254:${port}`],
      [['::ffff:10.1.2.3'], `http://[::ffff:10.1.2.3]:${port}`],
      [['fd00::1'], `http://[fd00::1]:${port}`],
    ] as const) {
      const http = open({ egress: { allowOrigins: [named], allowPublic: false }, lookup: resolveTo(...addresses) });
      await expect(http.get(named)).rejects.toMatchObject({
        ...denied,
        message: expect.stringContaining(`list ${also} too`),
      });
      // What it advises is a list that is accepted.
      open({ egress: { allowOrigins: [named, also] } });
    }
    expect(peak()).toBe(0);
    // Nobody is at the public address; what matters is that it was asked for.
    const outside = open({
      egress: { allowOrigins: [named], allowPublic: false },
      connectTimeoutMs: 50,
      lookup: resolveTo('240.0.0.1', '1.0.0.0'),
    });
    await expect(outside.get(named)).rejects.toMatchObject(denied);
    const routed = open({
      egress: { allowOrigins: [named], allowPublic: false },
      connectTimeoutMs: 50,
      lookup: resolveTo('1.0.0.0'),
    });
    await expect(routed.get(named)).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_(CONNECT_TIMEOUT|UNREACHABLE|CONNECTION_LOST)$/),
    });
  });

  it('lets a listed name be at a private address that is listed with the same scheme and port, or with allowPrivate', async () => {
    const { url } = await serve((_request, response) => response.end('ok'));
    const { port } = new URL(url);
    const named = `http://api.example:${port}`;
    const lookup = resolveTo('127.0.0.1');
    for (const egress of [
      { allowOrigins: [named, url] },
      { allowOrigins: [named, `http://[::ffff:127.0.0.1]:${port}`] },
      { allowOrigins: [named], allowPublic: false, allowPrivate: true },
    ]) {
      expect(await (await open({ egress, lookup }).get(named)).text()).toBe('ok');
    }
    for (const other of [`https://127.0.0.1:${port}`, 'http://127.0.0.1:1', `http://127.0.0.2:${port}`]) {
      const http = open({ egress: { allowOrigins: [named, other] }, lookup });
      await expect(http.get(named), other).rejects.toMatchObject(denied);
    }
    // The address is listed for those who ask for it or for a listed name, not for every name that points there.
    const listed = open({ egress: { allowOrigins: [named, url] }, lookup });
    await expect(listed.get(`http://other.example:${port}`)).rejects.toMatchObject(denied);
  });

  it('lets a listed localhost be at loopback addresses and nowhere else', async () => {
    const { url } = await serve((_request, response) => response.end('ok'));
    const { port } = new URL(url);
    const named = `http://localhost:${port}`;
    for (const address of ['127.0.0.1', '::ffff:127.0.0.1']) {
      const http = open({ egress: { allowOrigins: [named], allowPublic: false }, lookup: resolveTo(address) });
      expect(await (await http.get(named)).text()).toBe('ok');
    }
    for (const address of ['10.1.2.3', '93.184.216.34', '0.0.0.0', '169.254.169.254', '::', '::ffff:10.1.2.3']) {
      const http = open({
        egress: { allowOrigins: [named, `http://10.1.2.3:${port}`], allowPrivate: true },
        lookup: resolveTo('127.0.0.1', address),
      });
      await expect(http.get(named), address).rejects.toMatchObject({
        ...denied,
        message: expect.stringContaining('127.0.0.0/8, ::1'),
      });
    }
  });

  it('refuses a listed name that was rebound between two requests, also at the end of a redirect and by fetch', async () => {
    const inner = await serve((_request, response) => response.end('secret'));
    const named = `http://api.example:${new URL(inner.url).port}`;
    const { url } = await serve((_request, response) => response.writeHead(302, { location: named }).end());
    let address = '1.0.0.0';
    const http = open({
      egress: { allowOrigins: [url, named] },
      connectTimeoutMs: 50,
      lookup: (hostname, options, callback) => resolveTo(address)(hostname, options, callback),
    });
    await expect(http.get(named)).rejects.not.toMatchObject(denied);
    address = '127.0.0.1';
    await expect(http.get(named)).rejects.toMatchObject(denied);
    await expect(http.get(url)).rejects.toMatchObject(denied);
    await expect(fetch(named, { dispatcher: http.dispatcher } as unknown as RequestInit)).rejects.toMatchObject({
      cause: denied,
    });
    expect(inner.peak()).toBe(0);
  });

  it('is asked again for every redirect', async () => {
    const inner = await serve((_request, response) => response.end('secret'));
    const { port } = new URL(inner.url);
    const { url } = await serve((request, response) => {
      response.writeHead(302, { location: decodeURIComponent(request.url?.slice(1) ?? '') });
      response.end();
    });
    const http = open({ egress: { allowOrigins: [url] } });
    for (const target of [
      inner.url,
      `http://localhost:${port}`,
      `http://2130706433:${port}`,
      'http://169.254.169.254/latest',
    ]) {
      await expect(http.get(`${url}/${encodeURIComponent(target)}`)).rejects.toMatchObject(denied);
    }
    expect(inner.peak()).toBe(0);
  });

  it('can be an allow-list only, or ask for schemes and ports', async () => {
    const list = open({ egress: { allowOrigins: ['https://api.example'], allowPublic: false } });
    await expect(list.get('http://93.184.216.34/')).rejects.toMatchObject(denied);
    const narrow = open({ egress: { allowSchemes: ['https'], allowPorts: [443] } });
    await expect(narrow.get('http://93.184.216.34/')).rejects.toMatchObject(denied);
    await expect(narrow.get('https://93.184.216.34:8443/')).rejects.toMatchObject(denied);
    const { url } = await serve((_request, response) => response.end('ok'));
    expect(await (await open({ egress: { allowPrivate: true } }).get(url)).text()).toBe('ok');
    expect(() => open({ egress: { allowOrigins: ['example.com'] } })).toThrow(TypeError);
    expect(() => open({ egress: { allowOrigins: ['https://example.com/path'] } })).toThrow(TypeError);
  });

  it('holds for fetch by the dispatcher', async () => {
    const { url, peak } = await serve((_request, response) => response.end('secret'));
    const http = open({ egress: {} });
    await expect(fetch(url, { dispatcher: http.dispatcher } as unknown as RequestInit)).rejects.toMatchObject({
      cause: denied,
    });
    expect(peak()).toBe(0);
  });
});

it('knows public addresses from the others', async () => {
  // An internal of the package, tested as it is: it decides what the whole guard is worth.
  const { isPublicAddress } = (await import(new URL('../src/http/egress.ts', import.meta.url).href)) as {
    isPublicAddress(address: string): boolean;
  };
  for (const address of ['8.8.8.8', '1.1.1.1', '2606:4700::1111', '::ffff:8.8.8.8'])
    expect(isPublicAddress(address)).toBe(true);
  for (const address of [
    '192.0.2.1',
    '198.18.0.1',
    '2002:7f00:1::',
    '2001::1',
    '2001:db8::1',
    'fe80::1%eth0',
    'nonsense',
    '',
  ]) {
    expect(isPublicAddress(address), address).toBe(false);
  }
});

it('no spelling of a private IPv4 address passes for public', async () => {
  const http = open({ egress: {}, timeoutMs: 1_000 });
  const byte = fc.integer({ min: 0, max: 255 });
  const privateAddress = fc.oneof(
    fc.tuple(fc.constantFrom(0, 10, 127), byte, byte, byte),
    fc.tuple(fc.constant(169), fc.constant(254), byte, byte),
    fc.tuple(fc.constant(172), fc.integer({ min: 16, max: 31 }), byte, byte),
    fc.tuple(fc.constant(192), fc.constant(168), byte, byte),
    fc.tuple(fc.constant(100), fc.integer({ min: 64, max: 127 }), byte, byte),
    fc.tuple(fc.integer({ min: 224, max: 255 }), byte, byte, byte),
  );
  const hex = (n: number) => n.toString(16);
  const spelling = privateAddress.chain(([a, b, c, d]) =>
    fc.constantFrom(
      `${a}.${b}.${c}.${d}`,
      String(((a * 256 + b) * 256 + c) * 256 + d),
      `0x${hex(a)}.${b}.${c * 256 + d}`,
      `0${a.toString(8)}.0${b.toString(8)}.${c}.${d}`,
      `[::ffff:${a}.${b}.${c}.${d}]`,
      `[::ffff:${hex(a * 256 + b)}:${hex(c * 256 + d)}]`,
      `[::${hex(a * 256 + b)}:${hex(c * 256 + d)}]`,
      `[64:ff9b::${a}.${b}.${c}.${d}]`,
      `[2002:${hex(a * 256 + b)}:${hex(c * 256 + d)}::]`,
    ),
  );
  await fc.assert(
    fc.asyncProperty(spelling, async (host) => {
      await expect(http.get(`http://${host}/`)).rejects.toMatchObject(denied);
    }),
    { numRuns: 300 },
  );
});
