import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export type Health = 'well' | 'failing' | 'hanging';

/** A dependency over HTTP that can be made sick, for all its callers or for some, and knows who probes it. */
export class Dependency implements AsyncDisposable {
  health: Health = 'well';
  /** Members for whom it fails, whatever its health. */
  readonly failsFor = new Set<number>();
  calls = 0;
  probes = 0;
  probesInFlight = 0;
  /** When the last call that was no probe was made, by its caller's clock. Milliseconds since 1970. */
  lastPlainCallAt = 0;
  /** Called when a probe comes while others are in flight, with how many there are now. */
  onSeveralProbes: (inFlight: number) => void = () => {};
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => {
      this.calls += 1;
      if (request.headers['x-probe'] === 'yes') {
        this.probes += 1;
        this.probesInFlight += 1;
        response.once('close', () => (this.probesInFlight -= 1));
        if (this.probesInFlight > 1) this.onSeveralProbes(this.probesInFlight);
      } else {
        this.lastPlainCallAt = Math.max(this.lastPlainCallAt, Number(request.headers['x-started-at']));
      }
      if (this.health === 'hanging') return;
      const failing = this.health === 'failing' || this.failsFor.has(Number(request.headers['x-member']));
      response.writeHead(failing ? 500 : 200).end();
    });
  }

  static async start(): Promise<Dependency> {
    const dependency = new Dependency();
    dependency.#server.listen(0, '127.0.0.1');
    await once(dependency.#server, 'listening');
    return dependency;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
