// Runs one local server for a parent process and outlives it: whatever happens to the parent, the server's processes
// and its folder are gone soon after. Plain JavaScript beside src/, so that the same file serves src and dist.
//
// The parent talks over IPC. `{ id, command, ...input }` is answered by `{ id, result }` or `{ id, error }`;
// `{ event: 'exit' }` tells that the server has ended. When the channel closes, everything is removed.
import { execFileSync, spawn } from 'node:child_process';
import {
  chownSync,
  closeSync,
  constants,
  lstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';

const STOP_GRACE_MS = 3_000;
const KILL_GRACE_MS = 10_000;
const BURIAL_MS = 500;
/** Of util-linux, and of macOS. */
const REMOVE_IPC = 'ipcrm';
const LOCK_FILE = 'data/postmaster.pid';
const RECORD = 'processes.json';
// As root, the folder belongs to another user: no link of theirs is followed.
const OVERWRITE = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;

process.umask(0o077);

/** Every process started here that has not ended yet: pid → promise of its end. */
const running = new Map();
let folder;
let server;
let closing;

const commands = { open, run, start, kill, pause, resume, stop, log, close };

process.on('message', async ({ id, command, ...input }) => {
  let answer;
  try {
    answer = { id, result: await commands[command](input) };
  } catch (error) {
    answer = { id, error: error instanceof Error ? error.message : String(error) };
  }
  tell(answer, () => command === 'close' && process.exit(answer.error === undefined ? 0 : 1));
});
process.on('disconnect', closeAndExit);
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, closeAndExit);
process.on('uncaughtException', closeAndExit);
if (!process.connected) closeAndExit();

function open({ root, prefix, owner }) {
  sweep(root);
  folder = mkdtempSync(join(root, prefix));
  if (owner) chownSync(folder, owner.uid, owner.gid);
  keepRecord();
  return folder;
}

/** A short-lived program, to its end; at `timeoutMs` it is killed. */
async function run({ file, args, owner, env, timeoutMs }) {
  const child = launch({ file, args, owner, env, logFile: 'run.log' });
  const ended = running.get(child);
  const timer = setTimeout(() => send(-child.pid, 'SIGKILL'), timeoutMs);
  const { code, signal, error } = await ended;
  clearTimeout(timer);
  return { code, signal, output: error ?? tail('run.log') };
}

async function start({ file, args, owner, env, stopSignal }) {
  if (server && running.has(server.child)) throw new Error('the server is running');
  server = { paused: false, stopSignal };
  const child = launch({ file, args, owner, env, logFile: 'server.log' });
  server.child = child;
  const ended = running.get(child);
  ended.then(() => tell({ event: 'exit' }));
  if (child.pid === undefined) throw new Error((await ended).error);
}

async function kill() {
  await killAll();
}

async function pause() {
  if (!serverRuns()) throw new Error('the server is not running');
  server.paused = true;
  // The main process first, so that it starts no others while they are being counted.
  send(server.child.pid, 'SIGSTOP');
  await until(
    () => {
      const awake = family().filter(({ state }) => !state.startsWith('T'));
      for (const { pid } of awake) send(pid, 'SIGSTOP');
      return awake.length === 0;
    },
    STOP_GRACE_MS,
    'the server did not stop at SIGSTOP',
  );
}

function resume() {
  if (!serverRuns()) throw new Error('the server is not running');
  wake();
}

async function stop({ signal }) {
  if (serverRuns()) {
    wake();
    send(server.child.pid, signal);
    await Promise.race([running.get(server.child), sleep(STOP_GRACE_MS)]);
  }
  await killAll();
}

function log() {
  return tail('server.log');
}

function close() {
  closing ??= (async () => {
    try {
      if (server) await stop({ signal: server.stopSignal });
      else await killAll();
    } finally {
      // A server that was just killed may still have had a write under way.
      if (folder) rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
    }
  })();
  return closing;
}

function closeAndExit() {
  close().then(
    () => process.exit(0),
    () => process.exit(1),
  );
}

function launch({ file, args, owner, env, logFile }) {
  if (closing) throw new Error('the guardian is closing');
  const logFd = openSync(join(folder, logFile), OVERWRITE, 0o600);
  // A group of its own, so that it can be signalled together with what it forks. Its stdin ends when the guardian does.
  const child = spawn(file, args, { ...owner, env, cwd: folder, detached: true, stdio: ['pipe', logFd, logFd] });
  closeSync(logFd);
  child.stdin?.on('error', () => {});
  running.set(
    child,
    new Promise((resolve) => {
      const ended = (outcome) => {
        running.delete(child);
        resolve(outcome);
      };
      child.once(
        'error',
        (error) => child.pid === undefined && ended({ code: null, signal: null, error: error.message }),
      );
      child.once('exit', (code, signal) => ended({ code, signal }));
    }),
  );
  keepRecord();
  return child;
}

async function killAll() {
  if (!folder) return;
  const lockFile = join(folder, LOCK_FILE);
  const memoryKey = sharedMemoryKey(lockFile);
  // Stopped first: a process that cannot run cannot fork, so none is missed.
  for (const child of running.keys()) send(child.pid, 'SIGSTOP');
  if (serverRuns() && basename(folder).startsWith('x-postgres-')) await killChildrenFirst();
  await until(
    () => {
      const alive = family();
      for (const child of running.keys()) send(-child.pid, 'SIGKILL');
      for (const { pid } of alive) send(pid, 'SIGKILL');
      return alive.length === 0 && running.size === 0;
    },
    KILL_GRACE_MS,
    'the server did not end at SIGKILL',
  );
  // PostgreSQL removes both itself at its next start; but there may be none, and the process number in the lock file
  // may by then belong to somebody else, which would make it refuse to start.
  rmSync(lockFile, { force: true });
  freeSharedMemory(memoryKey);
}

/**
 * Kills PostgreSQL's processes, and lets their parent bury them before it goes: in a container whose process 1 is no
 * init, orphans stay as zombies. SIGQUIT makes that parent leave without a checkpoint, so the data are as after a crash.
 */
async function killChildrenFirst() {
  const { pid: main } = server.child;
  const killed = () => {
    const children = family().filter(({ pid }) => pid !== main);
    for (const { pid } of children) send(pid, 'SIGKILL');
    return children.length === 0;
  };
  await until(killed, KILL_GRACE_MS, 'the server did not end at SIGKILL');
  send(main, 'SIGQUIT');
  send(main, 'SIGCONT');
  await Promise.race([running.get(server.child), sleep(BURIAL_MS)]);
}

/** The System V key that a PostgreSQL which has not shut down by itself leaves behind (line 7 of its lock file). */
function sharedMemoryKey(lockFile) {
  try {
    return readFileSync(lockFile, 'utf8').split('\n')[6]?.trim().split(/\s+/)[0];
  } catch {
    return undefined;
  }
}

function freeSharedMemory(key) {
  if (!key) return;
  try {
    execFileSync(REMOVE_IPC, ['-M', key], { stdio: 'ignore' });
  } catch {
    // Already gone, or a system without ipcrm: a few bytes stay.
  }
}

function serverRuns() {
  return server !== undefined && running.has(server.child);
}

/** Who is at work here, for the guardian that finds this folder if we are killed ourselves. */
function keepRecord() {
  const known = [process.pid, ...[...running.keys()].map((child) => child.pid)].filter((pid) => pid !== undefined);
  const record = { namespace: processNamespace(), processes: known.map((pid) => ({ pid, since: startOf(pid) })) };
  writeFileSync(join(folder, RECORD), JSON.stringify(record), { mode: 0o600, flag: OVERWRITE });
}

/** Removes what guardians that were killed have left in `root`, as far as it belongs to this user. */
function sweep(root) {
  for (const name of readdirSync(root)) {
    if (!/^x-(postgres|redis)-\w{6}$/.test(name)) continue;
    try {
      if (!isOurs(join(root, name))) continue;
      const { namespace, processes } = JSON.parse(readFileSync(join(root, name, RECORD), 'utf8'));
      const alive = processes.filter(({ pid, since }) => since !== undefined && startOf(pid) === since);
      // Process numbers of another container mean nothing here.
      if (namespace !== processNamespace() || alive.some(({ pid }) => pid === processes[0].pid)) continue;
      const title = `postgres: ${name}:`;
      for (const { pid } of alive) send(-pid, 'SIGKILL');
      for (const { pid, command } of listProcesses()) if (command.startsWith(title)) send(pid, 'SIGKILL');
      freeSharedMemory(sharedMemoryKey(join(root, name, LOCK_FILE)));
      rmSync(join(root, name), { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
    } catch {
      // Somebody else's, being made, or being removed.
    }
  }
}

/** The folder of all users is open to all users: what another one has put there must not tell us whom to kill. */
function isOurs(path) {
  const [us, of, record] = [process.getuid(), lstatSync(path), lstatSync(join(path, RECORD))];
  return of.isDirectory() && (of.uid === us || us === 0) && record.isFile() && record.uid === us;
}

/** When a process started; together with its number that names it for good. Nothing for one that has ended. */
function startOf(pid) {
  try {
    if (process.platform === 'linux') {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return fields[0] === 'Z' ? undefined : fields[19];
    }
    const line = execFileSync('ps', ['-o', 'state=,lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim();
    return line.startsWith('Z') ? undefined : line.replace(/^\S+\s+/, '');
  } catch {
    return undefined;
  }
}

function processNamespace() {
  return process.platform === 'linux' ? readlinkSync('/proc/self/ns/pid') : 'host';
}

function wake() {
  if (!server.paused) return;
  server.paused = false;
  for (const { pid } of family()) send(pid, 'SIGCONT');
}

/**
 * All living processes of the server: what was started here and its descendants, also PostgreSQL's processes that have
 * lost their parent. Those have left the process group (each calls setsid), but carry the cluster's name as title.
 */
function family() {
  if (!folder) return [];
  const title = `postgres: ${basename(folder)}:`;
  const processes = listProcesses();
  const members = new Set([...running.keys()].map((child) => child.pid));
  for (const { pid, command } of processes) if (command.startsWith(title)) members.add(pid);
  for (let size = -1; size !== members.size; ) {
    size = members.size;
    for (const { pid, parent } of processes) if (members.has(parent)) members.add(pid);
  }
  return processes.filter(({ pid, state }) => members.has(pid) && !state.startsWith('Z') && !state.startsWith('X'));
}

function listProcesses() {
  return process.platform === 'linux' ? processesFromProc() : processesFromPs();
}

function processesFromProc() {
  const processes = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      // The second field is the program's name in parentheses, and may itself hold spaces and parentheses.
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      const isPostgres = stat.includes('(postgres)');
      const command = isPostgres ? readFileSync(`/proc/${name}/cmdline`, 'latin1').replaceAll('\0', ' ') : '';
      processes.push({ pid: Number(name), parent: Number(parent), state, command });
    } catch {
      // Ended while being read.
    }
  }
  return processes;
}

function processesFromPs() {
  const lines = execFileSync('ps', ['-axo', 'pid=,ppid=,state=,command='], { encoding: 'utf8' }).split('\n');
  return lines.flatMap((line) => {
    const [, pid, parent, state, command] = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/.exec(line) ?? [];
    return pid === undefined ? [] : [{ pid: Number(pid), parent: Number(parent), state, command }];
  });
}

function tail(name) {
  try {
    return readFileSync(join(folder, name), 'utf8').slice(-4_000);
  } catch {
    return '';
  }
}

function send(pid, signal) {
  try {
    process.kill(pid, signal);
  } catch {
    // Already gone.
  }
}

async function until(done, timeoutMs, failure) {
  const deadline = performance.now() + timeoutMs;
  while (!done()) {
    if (performance.now() > deadline) throw new Error(failure);
    await sleep(10);
  }
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function tell(message, sent = () => {}) {
  // With a callback, a parent that is gone already is no error event.
  if (process.connected) process.send(message, sent);
}
