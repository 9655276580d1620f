// Over HTTP/2 a connection whose network had gone away without a word was given every new request, for as long as the operating system
// believed in it.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createSecureServer } from 'node:http2';
import { type AddressInfo, connect, createServer } from 'node:net';
import { ManualClock } from '@x/testkit';
import { afterEach, expect, it } from 'vitest';
import { atEnd, cleanUp, open } from '../http-server.ts';

afterEach(cleanUp);

const cert = readFileSync(new URL('../fixtures/localhost.cert.pem', import.meta.url), 'utf8');
const key = readFileSync(new URL('../fixtures/localhost.key.pem', import.meta.url), 'utf8');

/** An HTTP/2 server behind a network that can swallow all that comes over the connections there are, and not what comes over new ones. */
async function farServer() {
  const asked: string[] = [];
  const server = createSecureServer({ cert, key }, (request, response) => {
    asked.push(request.url);
    if (request.url !== '/never') response.end('ok');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  let connections = 0;
  let lost = 0;
  const network = createServer((client) => {
    const number = ++connections;
    const far = connect(port, '127.0.0.1');
    for (const [from, to] of [
      [client, far],
      [far, client],
    ] as const) {
      from.on('data', (data) => {
        if (number > lost) to.write(data);
      });
      from.on('error', () => {});
      from.on('close', () => to.destroy());
    }
    atEnd(() => client.destroy());
  }).listen(0, '127.0.0.1');
  await once(network, 'listening');
  atEnd(() => {
    network.close();
    server.close();
  });
  return {
    url: `https://localhost:${(network.address() as AddressInfo).port}`,
    asked,
    connections: () => connections,
    goAway: () => {
      lost = connections;
    },
  };
}

it('a connection that is not heard of for a second is given no more requests', async () => {
  const { url, connections, goAway } = await farServer();
  const clock = new ManualClock();
  const http = open({ clock, tls: { ca: cert }, timeoutMs: 1_000_000 });
  const text = async (timeoutMs?: number) => (await http.get(url, { timeoutMs })).text();
  expect(await text()).toBe('ok');
  await clock.advance(100_000);
  goAway();
  // Several time-outs that are shorter than that are as good as one.
  for (const ms of [300, 300, 300, 100]) {
    const late = text(ms);
    late.catch(() => {});
    await clock.advance(ms);
    await expect(late).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
  }
  expect(await text()).toBe('ok');
  expect(connections()).toBe(2);
  await expect.poll(() => http.stats()).toMatchObject({ connections: 1, inFlight: 0 });

  // What is under way there has its own time, and holds up nobody.
  goAway();
  const patient = text();
  const late = text(1_000);
  late.catch(() => {});
  await clock.advance(1_000);
  await expect(late).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
  expect(await Promise.all([text(), text()])).toEqual(['ok', 'ok']);
  expect(connections()).toBe(3);
  expect(http.stats()).toMatchObject({ connections: 2, inFlight: 1 });
  patient.catch(() => {});
  await clock.advance(1_000_000);
  await expect(patient).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
  await expect.poll(() => http.stats()).toMatchObject({ connections: 1, inFlight: 0 });
});

it('the first request of a connection counts as well, and one that fails early or beside others that are answered says nothing', async () => {
  const { url, asked, connections } = await farServer();
  const clock = new ManualClock();
  const http = open({ clock, tls: { ca: cert }, timeoutMs: 1_000_000 });
  const never = async (timeoutMs: number, meanwhile: () => Promise<unknown>) => {
    const before = asked.length;
    const late = http.get(`${url}/never`, { timeoutMs });
    late.catch(() => {});
    await expect.poll(() => asked.length).toBe(before + 1);
    await clock.advance(timeoutMs - 999);
    await meanwhile();
    await clock.advance(999);
    await expect(late).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
    await expect.poll(() => http.stats()).toMatchObject({ inFlight: 0 });
  };
  await never(2_000, async () => {});
  expect(http.stats()).toMatchObject({ connections: 0 });
  const ok = async () => (await http.get(url)).text();
  for (let n = 0; n < 3; n++) await never(2_000, ok);
  for (let n = 0; n < 3; n++) {
    await ok();
    await never(999, async () => {});
  }
  expect(http.stats()).toMatchObject({ connections: 1, idle: 1 });
  expect(connections()).toBe(2);
});

it('who is still waiting when another one has been answered counts from then on', async () => {
  const { url, asked, connections } = await farServer();
  const clock = new ManualClock();
  const http = open({ clock, tls: { ca: cert }, timeoutMs: 1_000_000 });
  const late = http.get(`${url}/never`, { timeoutMs: 2_000 });
  late.catch(() => {});
  await expect.poll(() => asked).toEqual(['/never']);
  await clock.advance(500);
  const ok = async () => (await http.get(url)).text();
  expect(await ok()).toBe('ok');
  await clock.advance(1_500);
  await expect(late).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
  expect(await ok()).toBe('ok');
  expect(connections()).toBe(2);
});
