import { mkdirSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { dirname } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { HttpPool } from '@x/pools/http';
import { WorkerPool } from '@x/pools/workers';
import { afterEach, expect, test } from 'vitest';
import { cleanUp, serve } from './http-server.ts';

afterEach(cleanUp);

// In CI a few seconds; `pnpm soak` sets how many operations, and where the report goes.
const operations = Number(process.env.SOAK_OPERATIONS ?? 3_000);
const report = process.env.SOAK_REPORT;
const workerShare = 20;

// Memory that is used and memory that is not collected yet look alike.
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const pick = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)] as T;

function abortSoon(): AbortSignal {
  const controller = new AbortController();
  setTimeout(() => controller.abort('gone'), Math.random() * 10);
  return controller.signal;
}

/** Sends the beginning, and then byte by byte. */
function drip(socket: Socket, beginning: string): void {
  socket.write(beginning);
  const timer = setInterval(() => socket.write('x'), 5);
  socket.on('close', () => clearInterval(timer));
}

test(
  `HttpPool and WorkerPool: ${operations} operations with random faults leave nothing behind`,
  async () => {
    const bomb = gzipSync(Buffer.alloc(5_000_000));
    const brotliBomb = brotliCompressSync(Buffer.alloc(5_000_000), {
      params: { [constants.BROTLI_PARAM_QUALITY]: 1 },
    });
    const { url, sockets } = await serve((request, response) => {
      response.on('error', () => {});
      request.on('error', () => {});
      request.resume();
      if (request.url === '/reset') return request.socket.destroy();
      if (request.url === '/half')
        return response.writeHead(200, { 'content-length': 10 }).write('half', () => response.destroy());
      if (request.url === '/bomb') return response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb);
      if (request.url === '/brotli-bomb') return response.writeHead(200, { 'content-encoding': 'br' }).end(brotliBomb);
      if (request.url === '/nested-bomb')
        return response.writeHead(200, { 'content-encoding': 'gzip, gzip' }).end(gzipSync(bomb));
      if (request.url === '/cut-off')
        return response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb.subarray(0, 100));
      if (request.url === '/reset-midway') {
        response.writeHead(200, { 'content-length': 1_000 });
        return response.write('half', () => request.socket.resetAndDestroy());
      }
      if (request.url === '/drip-headers') return drip(request.socket, 'HTTP/1.1 200 OK\r\nX-Slow: ');
      if (request.url === '/drip-body')
        return drip(request.socket, 'HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n');
      if (request.url === '/close') return response.writeHead(200, { connection: 'close' }).end('ok');
      if (request.url === '/large') return response.end(Buffer.alloc(300_000));
      if (request.url === '/redirect') return response.writeHead(302, { location: '/' }).end('x'.repeat(100_000));
      if (request.url === '/unwell') return response.writeHead(503).end();
      if (request.url === '/never') return;
      if (request.url === '/stops') return response.writeHead(200).write('x');
      return setTimeout(() => response.end('ok'), Math.random() * 5);
    });
    const http = new HttpPool({
      maxConnections: 20,
      maxResponseBytes: 500_000,
      retry: {},
      hedge: {},
      timeoutMs: 5_000,
    });
    const workers = new WorkerPool({
      filename: new URL('./fixtures/tasks.mjs', import.meta.url),
      maxThreads: 2,
      resourceLimits: { maxOldGenerationSizeMb: 32 },
    });
    const text = (path = '', options = {}) => http.get(url + path, options).then((response) => response.text());
    const calls = [
      () => text(),
      () => text('', { signal: abortSoon() }),
      () => text('/reset'),
      () => text('/half'),
      () => text('/bomb'),
      () => text('/redirect'),
      () => text('/unwell', { signal: abortSoon() }),
      () => text('/never', { timeoutMs: 20 }),
      () => text('/stops', { timeoutMs: 20 }),
      () => text('/drip-headers', { timeoutMs: 20 }),
      () => text('/drip-body', { timeoutMs: 20 }),
      () => text('/brotli-bomb'),
      () => text('/nested-bomb'),
      () => text('/cut-off'),
      () => text('/reset-midway'),
      () => http.request(url, { method: 'HEAD' }),
      () => http.post(`${url}/close`, { body: 'x' }).then((response) => response.text()),
      () => http.post(url, { body: 'x', timeoutMs: 1 + Math.random() * 10 }),
      () => http.get(`${url}/large`, { timeoutMs: 100 }),
      () => http.get(`${url}/large`).then((response) => response.stream().cancel()),
      () =>
        fetch(url, { dispatcher: http.dispatcher, signal: abortSoon() } as unknown as RequestInit).then((r) =>
          r.text(),
        ),
    ];
    const tasks = [
      () => workers.run(1),
      () => workers.run(5, { name: 'count', onProgress: () => {} }),
      () => workers.run('no', { name: 'fail' }),
      () => workers.run(undefined, { name: 'throwLate' }),
      () => workers.run(undefined, { name: 'exit' }),
      () => workers.run(undefined, { name: 'rejectAside' }),
      () => workers.run(1_000, { name: 'spin', timeoutMs: 10 }),
      () => workers.run(1_000, { name: 'spin', signal: abortSoon() }),
    ];
    const odd: unknown[] = [];
    const outcomes: Record<string, number> = {};
    const memory: number[] = [];
    const handles: number[] = [];
    let done = 0;
    const caller = async (): Promise<void> => {
      while (done < operations) {
        const call = done++ % workerShare === 0 ? pick(tasks) : pick(calls);
        const outcome = await call().then(
          () => 'ok',
          (error: unknown) => {
            if (error === 'gone') return 'aborted';
            const code =
              (error as { code?: unknown } | null)?.code ?? (error as { cause?: { code?: unknown } }).cause?.code;
            if (typeof code !== 'string') odd.push(error);
            return String(code);
          },
        );
        outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      }
    };
    const slices = 10;
    const total = operations;
    const begin = performance.now();
    const callers = Array.from({ length: 40 }, caller);
    for (let slice = 1; slice <= slices; slice++) {
      while (done < (total * slice) / slices - 1) await new Promise((resolve) => setTimeout(resolve, 20));
      collect();
      memory.push(process.memoryUsage().heapUsed);
      handles.push(process.getActiveResourcesInfo().length);
      expect(http.stats().connections).toBeLessThanOrEqual(20);
      expect(workers.stats().threads).toBeLessThanOrEqual(2);
    }
    await Promise.all(callers);
    expect(odd).toEqual([]);
    await expect.poll(() => http.stats(), { timeout: 6_000 }).toMatchObject({ inFlight: 0, queued: 0 });
    await expect.poll(() => workers.stats()).toMatchObject({ running: 0, queued: 0 });
    await expect.poll(() => sockets.size === http.stats().connections && http.stats().idle === sockets.size).toBe(true);
    expect(await text()).toBe('ok');
    expect(await workers.run(1)).toBe(1);
    const { connections } = http.stats();
    const { replaced, late } = workers.stats();
    await Promise.all([http.close(), workers.close()]);
    await expect.poll(() => sockets.size).toBe(0);
    const half = (values: number[]) => Math.min(...values.slice(slices / 2));
    const firstHalf = Math.min(...memory.slice(1, slices / 2));
    // Halves of a short run say nothing of leaks.
    if (operations >= 50_000) expect(half(memory)).toBeLessThan(firstHalf * 1.25 + 16_000_000);
    if (report === undefined) return;
    const mb = (values: number[]) => values.map((bytes) => `${(bytes / 1e6).toFixed(0)}`).join(', ');
    const page = [
      '# Soak of HttpPool and WorkerPool',
      '',
      `${operations} operations by 40 callers with random faults, one in ${workerShare} of them a task of a thread (\`pnpm --filter @x/pools soak:http\`): resets, halves,`,
      'bombs in gzip, brotli and gzip in gzip, compressed bodies cut off, headers and bodies byte by byte, resets midway, connections not kept, redirects with bodies, 503,',
      'no answer, bodies that stop, aborts, time-outs, bodies nobody reads; tasks that throw, throw late, reject aside, exit, spin.',
      '',
      `Node ${process.versions.node}, ${Math.round((performance.now() - begin) / 1_000)} seconds. **Every invariant held**: no crash, every error has a code, connections 20 and threads 2 at most, afterwards nothing in flight,`,
      'every open socket is an idle connection of the pool, and both work.',
      '',
      '| measured | |',
      '|---|---|',
      `| heap in MB after each tenth, collected | ${mb(memory)} |`,
      `| active resources after each tenth | ${handles.join(', ')} |`,
      `| connections at the end | ${connections} |`,
      `| threads replaced, late errors | ${replaced}, ${late} |`,
      ...Object.entries(outcomes).map(([outcome, n]) => `| ${outcome} | ${n} |`),
      '',
    ].join('\n');
    mkdirSync(dirname(report), { recursive: true });
    writeFileSync(report, page);
  },
  operations < 50_000 ? 30_000 : 1_200_000,
);
