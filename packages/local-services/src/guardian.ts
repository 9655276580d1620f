import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { LocalServiceError } from './errors.ts';

/** Whom a program runs as. */
export interface Owner {
  uid: number;
  gid: number;
}

export interface Program {
  file: string;
  args: string[];
  owner?: Owner | undefined;
  env?: Record<string, string | undefined> | undefined;
}

export interface ServerProgram extends Program {
  /** Ends the server in order, but at once. */
  stopSignal: NodeJS.Signals;
}

export interface Outcome {
  code: number | null;
  signal: string | null;
  output: string;
}

interface Message {
  id?: number;
  result?: unknown;
  error?: string;
  event?: 'exit';
}

interface Waiter {
  resolve(result: never): void;
  reject(error: Error): void;
}

/**
 * This side of `guardian.mjs`: the process that runs a server for us, and that removes server and folder when told or
 * when we are gone. It keeps our event loop alive only while an answer is awaited.
 */
export class Guardian {
  #folder = '';
  #serverRuns = false;
  readonly #endListeners: (() => void)[] = [];
  readonly #child: ChildProcess;
  readonly #waiters: Map<number, Waiter> = new Map();
  readonly #exited: Promise<void>;
  #nextId = 0;
  #closing = false;
  #afterwards: () => Promise<void> = () => Promise.resolve();
  #removal: Promise<void> | undefined;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#exited = new Promise((resolve) => child.once('exit', () => resolve()).once('error', () => resolve()));
    child.on('message', (message: Message) => this.#receive(message));
    child.once('error', (error) => this.#gone(error));
    child.once('exit', (code) => this.#gone(undefined, code === 0));
    child.unref();
    child.channel?.unref();
  }

  /** Starts the guardian, which makes a folder for the server below `root`. */
  static async open(root: string, prefix: string, owner?: Owner): Promise<Guardian> {
    const { NODE_OPTIONS, NODE_V8_COVERAGE, ...env } = process.env;
    const child = spawn(process.execPath, [fileURLToPath(new URL('../guardian.mjs', import.meta.url))], {
      cwd: '/',
      env,
      // A session of its own, which Ctrl-C in our terminal does not reach, and neither our stdout nor our stderr.
      detached: true,
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    const guardian = new Guardian(child);
    try {
      guardian.#folder = await guardian.#ask('open', { root, prefix, owner });
    } catch (error) {
      await guardian.close();
      throw error;
    }
    guardian.#afterwards = () => Guardian.open(root, prefix).then((next) => next.close());
    return guardian;
  }

  /** The server's own folder, for its owner only. */
  get folder(): string {
    return this.#folder;
  }

  get serverRuns(): boolean {
    return this.#serverRuns;
  }

  /** Called once, when the server that runs now has ended. */
  onServerEnd(listener: () => void): void {
    this.#endListeners.push(listener);
  }

  /** Runs a program to its end; it is killed when that takes longer than `timeoutMs`. */
  run(program: Program, timeoutMs: number): Promise<Outcome> {
    return this.#ask('run', { ...program, timeoutMs });
  }

  /** Starts the server. It may end at once: look at `serverRuns`. */
  async start(program: ServerProgram): Promise<void> {
    this.#serverRuns = true;
    try {
      await this.#ask('start', { ...program });
    } catch (error) {
      this.#serverEnded();
      throw error;
    }
  }

  kill(): Promise<void> {
    return this.#ask('kill');
  }

  pause(): Promise<void> {
    return this.#ask('pause');
  }

  resume(): Promise<void> {
    return this.#ask('resume');
  }

  stop(signal: NodeJS.Signals): Promise<void> {
    return this.#ask('stop', { signal });
  }

  /** The last lines that the server has written. */
  log(): Promise<string> {
    return this.#ask('log');
  }

  /** Ends server and guardian, and removes the folder. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#child.ref();
    try {
      if (this.#child.connected) await this.#ask('close');
    } catch (error) {
      // Going already, for another reason: it removes everything then as well.
      if (!(error instanceof LocalServiceError && error.code === 'ERR_CLOSED')) throw error;
    }
    await this.#exited;
    await this.#removal;
  }

  #ask<T>(command: string, input: object = {}): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (!this.#child.connected) {
        reject(gone());
        return;
      }
      const id = ++this.#nextId;
      this.#waiters.set(id, { resolve, reject });
      this.#child.channel?.ref();
      this.#child.send({ id, command, ...input }, (error) => error && this.#settle(id)?.reject(gone(error)));
    });
  }

  #receive({ id, event, result, error }: Message): void {
    if (event === 'exit') this.#serverEnded();
    if (id === undefined) return;
    const waiter = this.#settle(id);
    if (error === undefined) waiter?.resolve(result as never);
    else waiter?.reject(new LocalServiceError('ERR_START_FAILED', error));
  }

  #settle(id: number): Waiter | undefined {
    const waiter = this.#waiters.get(id);
    this.#waiters.delete(id);
    if (this.#waiters.size === 0) this.#child.channel?.unref();
    return waiter;
  }

  #serverEnded(): void {
    this.#serverRuns = false;
    for (const listener of this.#endListeners.splice(0)) listener();
  }

  #gone(cause?: Error, tidy = false): void {
    this.#serverEnded();
    // Killed by somebody: another guardian removes what this one has left.
    if (!this.#closing && !tidy) this.#removal = this.#afterwards().catch(() => {});
    for (const id of [...this.#waiters.keys()]) this.#settle(id)?.reject(gone(cause));
  }
}

function gone(cause?: Error): LocalServiceError {
  return new LocalServiceError('ERR_CLOSED', 'the process that watches over the server has ended', { cause });
}
