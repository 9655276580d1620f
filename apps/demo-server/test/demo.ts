import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import { type ChildServer, startChildServer } from '../src/child-server.ts';

const folder = join(import.meta.dirname, '..');
export const main: string = join(folder, 'dist/main.js');

/** Builds what the tests run. Does next to nothing when it is built already. */
export function build(): void {
  execFileSync(join(folder, '../../node_modules/.bin/tsc'), ['-b'], { cwd: folder, stdio: 'inherit' });
}

/** The environment without settings of this machine that would reach the server under test. */
export function cleanEnvironment(more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const { DATABASE_URL, REDIS_URL, UPSTREAM_URL, MCP_TOKEN, PORT, HOST, ...rest } = process.env;
  return { ...rest, ...more };
}

/** Starts the built server as a user would, with services of its own unless told otherwise. */
export function startDemo(...args: string[]): Promise<ChildServer> {
  build();
  return startChildServer(main, args, cleanEnvironment());
}

/** The SDK's own client, connected over HTTP. */
export async function connect(url: string, headers: Record<string, string> = {}): Promise<Client> {
  const client = new Client({ name: 'test', version: '1.0.0' });
  await client.connect(
    new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }) as Parameters<Client['connect']>[0],
  );
  return client;
}

export async function call(client: Client, name: string, args: Record<string, unknown> = {}): Promise<CallToolResult> {
  return (await client.callTool({ name, arguments: args })) as CallToolResult;
}

export function text(result: CallToolResult): string {
  return result.content.map((part) => (part.type === 'text' ? part.text : '')).join('\n');
}

/** The refusal or failure details of a result. */
export function errorOf(result: CallToolResult): { code?: string; reason?: string; retryAfterMs?: number } {
  return (result._meta?.['x/error'] ?? {}) as { code?: string; reason?: string; retryAfterMs?: number };
}

/** Makes the upstream API slow, failing, dead or well. */
export async function setUpstream(
  server: ChildServer,
  behaviour: { mode: 'ok' | 'slow' | 'failing' | 'dead'; delayMs?: number },
): Promise<void> {
  const response = await fetch(`${server.upstreamUrl}/control`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(behaviour),
  });
  if (!response.ok) throw new Error(await response.text());
}

/** The value of one series on /metrics, or of the sum of several; NaN when there is none. */
export async function metric(server: ChildServer, series: RegExp): Promise<number> {
  const response = await fetch(new URL('/metrics', server.url));
  const values = (await response.text())
    .split('\n')
    .filter((line) => !line.startsWith('#') && series.test(line))
    .map((line) => Number(line.slice(line.lastIndexOf(' '))));
  return values.length === 0 ? Number.NaN : values.reduce((total, value) => total + value, 0);
}

/** Polls until `check` says yes. The end is an event outside this process, so there is nothing to await. */
export async function eventually(check: () => Promise<boolean> | boolean, timeoutMs = 15_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    if (await Promise.resolve(check()).catch(() => false)) return;
    if (performance.now() > end) throw new Error(`still not so after ${timeoutMs} ms: ${check}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
