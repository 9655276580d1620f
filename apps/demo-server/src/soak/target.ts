import type { LocalService, PostgresService } from '@x/local-services';
import { Redis } from 'ioredis';
import pg from 'pg';
import type { ChildServer } from '../child-server.ts';
import type { HttpClient } from './exchange.ts';

/** The server under test with everything it depends on, which faults are done to. */
export interface Target {
  server: ChildServer;
  postgres: PostgresService;
  redis: LocalService;
  http: HttpClient;
}

/** Runs `fn` on a connection of its own, beside the server's. */
export async function withDatabase<T>(url: string, fn: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, application_name: 'soak' });
  client.on('error', () => {});
  await client.connect();
  try {
    return await fn(client);
  } finally {
    await client.end();
  }
}

export async function withRedis<T>(url: string, fn: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url);
  client.on('error', () => {});
  try {
    return await fn(client);
  } finally {
    client.disconnect();
  }
}

/** Makes the upstream API slow, failing, dead or well. */
export async function setUpstream(url: string, mode: 'ok' | 'slow' | 'failing' | 'dead', delayMs = 0): Promise<void> {
  const response = await fetch(`${url}/control`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ mode, delayMs }),
  });
  if (!response.ok) throw new Error(`the upstream API did not take its order: ${response.status}`);
  await response.arrayBuffer();
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Polls until `check` says yes; false when it still does not after `timeoutMs`. */
export async function becomes(check: () => Promise<boolean> | boolean, timeoutMs: number): Promise<boolean> {
  const end = performance.now() + timeoutMs;
  while (!(await check())) {
    if (performance.now() > end) return false;
    await sleep(100);
  }
  return true;
}
