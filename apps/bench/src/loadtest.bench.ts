import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Worker } from 'node:worker_threads';
import { runLoadTest } from '@x/loadtest';
import autocannon from 'autocannon';

const connections = 50;
const rounds = 3;
const seconds = 3;

/**
 * Requests per second that one generator drives against a responder that does next to nothing, in a thread of its own.
 * Ours gives each request its own id and checks each answer; autocannon sends one body and counts statuses. In turns,
 * since the machine is not equally fast from one moment to the next.
 */
export async function runLoadtestBench(): Promise<void> {
  const worker = new Worker(new URL(import.meta.url), { workerData: RESPONDER });
  const [port] = (await once(worker, 'message')) as [number];
  const url = `http://127.0.0.1:${port}/mcp`;
  const ours: number[] = [];
  const theirs: number[] = [];
  try {
    await driveOurs(url, 1);
    await driveTheirs(url, 1);
    for (let round = 0; round < rounds; round++) {
      ours.push(await driveOurs(url, seconds));
      theirs.push(await driveTheirs(url, seconds));
      console.log(
        `round ${round + 1}: @x/loadtest ${ours.at(-1)?.toFixed(0)}/s, autocannon ${theirs.at(-1)?.toFixed(0)}/s`,
      );
    }
  } finally {
    await worker.terminate();
  }
  console.log(`\nbest of ${rounds}, ours / autocannon: ${(Math.max(...ours) / Math.max(...theirs)).toFixed(2)}`);
}

async function driveOurs(url: string, duration: number): Promise<number> {
  const result = await runLoadTest({
    target: url,
    tool: 't',
    args: { user_id: 'u1' },
    concurrency: connections,
    durationMs: duration * 1000,
  });
  if (result.failures > 0) throw new Error(JSON.stringify(result.failuresByClass));
  return result.requestsPerSecond;
}

async function driveTheirs(url: string, duration: number): Promise<number> {
  const result = await autocannon({
    url,
    connections,
    duration,
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"user_id":"u1"}}}',
  });
  if (result.errors > 0 || result.non2xx > 0) throw new Error(`${result.errors} errors, ${result.non2xx} bad statuses`);
  return result.requests.average;
}

const RESPONDER = 'responder';

/** This file is also the program of the responder's thread. */
async function respond(parent: NonNullable<typeof import('node:worker_threads').parentPort>): Promise<void> {
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      const { id } = JSON.parse(body) as { id?: number };
      response.setHeader('Content-Type', 'application/json');
      response.end(
        id === undefined ? '' : `{"jsonrpc":"2.0","id":${id},"result":{"content":[{"type":"text","text":"ok"}]}}`,
      );
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  parent.postMessage((server.address() as AddressInfo).port);
}

const { parentPort, workerData } = await import('node:worker_threads');
if (workerData === RESPONDER && parentPort) await respond(parentPort);
