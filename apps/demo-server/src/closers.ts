import type { Logger } from './logger.ts';

/**
 * What has to be closed, last opened first. It may be closed while the server is still starting: what is added after
 * that is closed at once, so that nothing is left running whenever the end comes.
 */
export class Closers {
  readonly #logger: Logger;
  readonly #open: (() => Promise<unknown>)[] = [];
  #closing: Promise<void> | undefined;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Resolves when it has been noted, or, if all is being closed already, when it has been closed. */
  async add(close: () => Promise<unknown>): Promise<void> {
    this.#open.push(close);
    if (this.#closing !== undefined) await this.#closeAll();
  }

  /** Closes everything. What fails to close is logged and keeps nothing else open. */
  close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  async #closeAll(): Promise<void> {
    for (let close = this.#open.pop(); close !== undefined; close = this.#open.pop()) {
      await close().catch((error) => this.#logger.error({ err: error }, 'a part of the server did not close in order'));
    }
  }
}
