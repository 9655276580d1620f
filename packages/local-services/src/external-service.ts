import { LocalServiceError } from './errors.ts';
import type { LocalService } from './local-service.ts';

/** A server that the environment names: ours to use, not to hurt. */
export class ExternalService implements LocalService {
  readonly url: string;
  readonly external = true;
  readonly #variable: string;

  constructor(variable: string, url: string) {
    this.#variable = variable;
    this.url = url;
  }

  /** Rejects unless the server answers. */
  async verify(probe: (url: string, timeoutMs: number) => Promise<void>, timeoutMs: number): Promise<void> {
    try {
      await probe(this.url, timeoutMs);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message || (cause as NodeJS.ErrnoException).code : String(cause);
      throw new LocalServiceError('ERR_START_FAILED', `the server of ${this.#variable} does not answer: ${reason}`, {
        cause,
      });
    }
  }

  kill(): Promise<void> {
    return this.#refuse('kill');
  }

  pause(): Promise<void> {
    return this.#refuse('pause');
  }

  resume(): Promise<void> {
    return this.#refuse('resume');
  }

  restart(): Promise<void> {
    return this.#refuse('restart');
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #refuse(command: string): Promise<never> {
    const message = `cannot ${command} the server of ${this.#variable}: it is not ours. Start one with { external: false }`;
    return Promise.reject(new LocalServiceError('ERR_EXTERNAL_SERVICE', message));
  }
}
