import { LocalServiceError } from './errors.ts';
import { freePort } from './free-port.ts';
import type { Guardian, ServerProgram } from './guardian.ts';
import type { LocalService } from './local-service.ts';

const PORT_ATTEMPTS = 5;
const READY_POLL_MS = 20;
/** A connection made in the middle of the start may never be answered; another one is. */
const PROBE_TIMEOUT_MS = 2_000;

/** How one kind of server is started and asked whether it answers. */
export interface ServerKind {
  /** For error messages. */
  name: string;
  startTimeoutMs: number;
  url(port: number): string;
  /** Writes what the server needs for this port, and says what to run. */
  program(port: number): Promise<ServerProgram>;
  /** Rejects while the server does not answer. */
  probe(url: string, timeoutMs: number): Promise<void>;
  /** Ends the server in order, keeping its data. */
  restartSignal: NodeJS.Signals;
}

/** A server that we have started, below its guardian. */
export class OwnedService implements LocalService {
  readonly external = false;
  readonly #guardian: Guardian;
  readonly #kind: ServerKind;
  #port = 0;
  #queue: Promise<unknown> = Promise.resolve();
  #disposal: Promise<void> | undefined;

  constructor(guardian: Guardian, kind: ServerKind) {
    this.#guardian = guardian;
    this.#kind = kind;
  }

  get url(): string {
    return this.#kind.url(this.#port);
  }

  /** Starts the server on a port nobody uses; on another one when somebody takes it before the server does. */
  async start(deadline: number): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      this.#port = await freePort();
      try {
        return await this.#launch(deadline);
      } catch (error) {
        if (attempt === PORT_ATTEMPTS || !isPortTaken(error)) throw error;
      }
    }
  }

  kill(): Promise<void> {
    return this.#enqueue(() => this.#guardian.kill());
  }

  pause(): Promise<void> {
    return this.#enqueue(() => {
      this.#mustRun('pause');
      return this.#guardian.pause();
    });
  }

  resume(): Promise<void> {
    return this.#enqueue(() => {
      this.#mustRun('resume');
      return this.#guardian.resume();
    });
  }

  restart(): Promise<void> {
    return this.#enqueue(async () => {
      await this.#guardian.stop(this.#kind.restartSignal);
      await this.#launch(performance.now() + this.#kind.startTimeoutMs);
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    // What was asked for before comes to its end first, so that nothing is started after the disposal.
    this.#disposal ??= this.#queue.then(() => this.#guardian.close());
    return this.#disposal;
  }

  /** One command after the other, in the order of the calls. */
  #enqueue(command: () => Promise<void>): Promise<void> {
    if (this.#disposal !== undefined) return Promise.reject(this.#closed());
    const result = this.#queue.then(command);
    this.#queue = result.catch(() => {});
    return result;
  }

  #mustRun(command: string): void {
    if (this.#guardian.serverRuns) return;
    throw new LocalServiceError('ERR_NOT_RUNNING', `cannot ${command} ${this.#kind.name}: it is not running`);
  }

  async #launch(deadline: number): Promise<void> {
    await this.#guardian.start(await this.#kind.program(this.#port));
    // Whoever has the port instead of a server that has ended may be silent.
    const ended = new Promise<never>((_, reject) =>
      this.#guardian.onServerEnd(() => reject(new Error('it has ended'))),
    );
    ended.catch(() => {});
    let lastError: unknown;
    while (this.#guardian.serverRuns) {
      if (this.#disposal !== undefined) throw this.#closed();
      const remainingMs = deadline - performance.now();
      if (remainingMs <= 0) throw await this.#failure('ERR_TIMEOUT', 'did not answer in time', lastError);
      try {
        const answer = this.#kind.probe(this.url, Math.min(remainingMs, PROBE_TIMEOUT_MS));
        return await Promise.race([answer, ended]);
      } catch (error) {
        lastError = error;
      }
      await new Promise((resolve) => setTimeout(resolve, READY_POLL_MS));
    }
    throw await this.#failure('ERR_START_FAILED', 'ended while starting', lastError);
  }

  #closed(): LocalServiceError {
    return new LocalServiceError('ERR_CLOSED', `this ${this.#kind.name} has been disposed of`);
  }

  async #failure(code: 'ERR_TIMEOUT' | 'ERR_START_FAILED', what: string, cause: unknown): Promise<LocalServiceError> {
    const log = await this.#guardian.log();
    await this.#guardian.kill();
    return new LocalServiceError(code, `${this.#kind.name} ${what}. The end of its log:\n${log}`, { cause });
  }
}

function isPortTaken(error: unknown): boolean {
  return error instanceof LocalServiceError && /address already in use/i.test(error.message);
}
