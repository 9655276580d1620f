import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readdir, readlink, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { descendants, type Process, processes, stillRunning, until } from './processes.ts';

const root = join(import.meta.dirname, '..');
const fixture = join(import.meta.dirname, 'fixtures/parent.mjs');

let temporary: string;
beforeAll(() => {
  // The fixtures are plain programs, and use what is published: dist.
  const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
  execFileSync(process.execPath, [tsc, '-b', root]);
});
beforeEach(async () => {
  temporary = await mkdtemp(join(tmpdir(), 'left-behind-'));
  await chmod(temporary, 0o777);
});
afterEach(() => rm(temporary, { recursive: true, force: true }));

interface Parent {
  child: ChildProcess;
  url: string;
  /** All processes below the parent when the server was ready. */
  family: Process[];
  ended: Promise<{ code: number | null; signal: string | null; output: string }>;
}

function run(
  kind: string,
  scenario: string,
  options: { uid?: number; gid?: number } = {},
): Omit<Parent, 'url' | 'family'> {
  const env = { PATH: process.env.PATH, TMPDIR: temporary };
  const child = spawn(process.execPath, [fixture, kind, scenario], {
    env,
    stdio: ['pipe', 'pipe', 'ignore'],
    ...options,
  });
  let output = '';
  child.stdout?.on('data', (bytes) => {
    output += bytes;
  });
  const ended = new Promise<Awaited<Parent['ended']>>((resolve) => {
    // `close`, not `exit`: nobody may go on holding the parent's stdout.
    child.once('close', (code, signal) => resolve({ code, signal, output }));
  });
  return { child, ended };
}

async function started(kind: string, scenario: string, options?: { uid?: number; gid?: number }): Promise<Parent> {
  const { child, ended } = run(kind, scenario, options);
  const url = await new Promise<string>((resolve, reject) => {
    createInterface(child.stdout!).once('line', resolve);
    ended.then(({ code }) => reject(new Error(`the parent ended with code ${code}`)));
  });
  return { child, ended, url, family: descendants(child.pid!) };
}

async function expectNothingLeft(family: Process[] = []): Promise<void> {
  await until(async () => stillRunning(family).length === 0 && (await readdir(temporary)).length === 0);
}

describe.runIf(process.platform === 'linux').each(['postgres', 'redis'])(
  'no process and no folder is left (%s)',
  (kind) => {
    it('after a disposal, also a second one', async () => {
      const { ended, url } = await started(kind, 'dispose');
      // The only line: a server on stdio may write nothing else there.
      expect(await ended).toEqual({ code: 0, signal: null, output: `${url}\n` });
      expect(await readdir(temporary)).toEqual([]);
    });

    it.each(['killAndDispose', 'pauseAndDispose'])('after %s', async (scenario) => {
      const { ended } = await started(kind, scenario);
      expect(await ended).toMatchObject({ code: 0 });
      expect(await readdir(temporary)).toEqual([]);
    });

    it('when the parent has nothing more to do', async () => {
      const { ended, family } = await started(kind, 'end');
      expect(await ended).toMatchObject({ code: 0 });
      await expectNothingLeft(family);
    });

    it.each(['SIGTERM', 'SIGINT', 'SIGKILL'] as const)('after %s to the parent', async (signal) => {
      const { child, ended, family } = await started(kind, 'hold');
      expect(family.length).toBeGreaterThan(1);
      child.kill(signal);
      expect(await ended).toMatchObject({ signal });
      await expectNothingLeft(family);
    });

    it('after a crash of the parent', async () => {
      const { child, ended, family } = await started(kind, 'crash');
      child.stdin?.write('now');
      expect(await ended).toMatchObject({ code: 1 });
      await expectNothingLeft(family);
    });

    it('after SIGKILL to the parent while the server is paused', async () => {
      const { child, family } = await started(kind, 'pause');
      child.kill('SIGKILL');
      await expectNothingLeft(family);
    });

    it('after SIGTERM to the guardian', async () => {
      const { child, family } = await started(kind, 'hold');
      process.kill(guardianOf(family).pid, 'SIGTERM');
      await expectNothingLeft(family);
      child.kill('SIGKILL');
    });

    it('after SIGKILL to the guardian', async () => {
      const { child, family } = await started(kind, 'hold');
      process.kill(guardianOf(family).pid, 'SIGKILL');
      await expectNothingLeft(family);
      child.kill('SIGKILL');
    });

    it('by the next start, after SIGKILL to both', async () => {
      const { child, ended, family } = await started(kind, 'hold');
      child.kill('SIGSTOP');
      process.kill(guardianOf(family).pid, 'SIGKILL');
      child.kill('SIGKILL');
      await ended;
      expect(await readdir(temporary)).toHaveLength(1);
      await (await started(kind, 'dispose')).ended;
      await expectNothingLeft(family);
    });

    it('and the guardian keeps its hands off the streams of its parent', async () => {
      const { child, family } = await started(kind, 'hold');
      const { pid } = guardianOf(family);
      for (const fd of [0, 1, 2]) expect(await readlink(`/proc/${pid}/fd/${fd}`)).toBe('/dev/null');
      child.kill('SIGKILL');
      await expectNothingLeft(family);
    });
  },
);

describe.runIf(process.platform === 'linux')('no process and no folder is left', () => {
  it('after SIGKILL to the parent while initdb runs', async () => {
    const { child } = run('postgres', 'hold');
    let family: Process[] = [];
    await until(() => {
      family = descendants(child.pid!);
      return family.some(({ command }) => command.includes('--boot'));
    });
    child.kill('SIGKILL');
    await expectNothingLeft(family);
  });

  it('of the shared memory of a killed PostgreSQL', async () => {
    const segments = () => execFileSync('cat', ['/proc/sysvipc/shm'], { encoding: 'utf8' });
    if (!existsSync('/proc/sysvipc/shm')) return;
    const { ended } = await started('postgres', 'killAndDispose');
    await ended;
    const alive = new Set(processes().map(({ pid }) => pid));
    for (const line of segments().trim().split('\n').slice(1)) {
      expect(alive).toContain(Number(line.trim().split(/\s+/)[4]));
    }
  });

  it.runIf(process.getuid?.() === 0)('where an ordinary user has started it', async () => {
    for (const kind of ['postgres', 'redis']) {
      const { child, family } = await started(kind, 'hold', { uid: 1_000, gid: 1_000 });
      child.kill('SIGKILL');
      await expectNothingLeft(family);
    }
  });
});

function guardianOf(family: Process[]): Process {
  const guardian = family.find(({ command }) => command.includes('guardian.mjs'));
  if (!guardian) throw new Error('there is no guardian');
  return guardian;
}
