import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { Transform } from 'node:stream';

/** What the proxy does to the bytes that pass. Each fault can be set and lifted while connections are open. */
export interface Faults {
  /** Every chunk is held back so long. Milliseconds, default 0. */
  delayMs?: number;
  /** At most so many bytes a second in each direction. Default: no limit. */
  bytesPerSecond?: number;
  /** Bytes are swallowed, connections stay open: a network that went away without a word. Default false. */
  blackHole?: boolean;
  /** New connections are closed at once. Default false. */
  refuse?: boolean;
}

/** A TCP proxy on 127.0.0.1 between a client under test and a real server, which can make the network fail. */
export class TcpProxy implements AsyncDisposable {
  /** The faults in force; assign to a field to change one. */
  readonly faults: Faults = {};
  readonly #server: Server;
  readonly #pairs = new Set<[Socket, Socket]>();

  private constructor(target: { host: string; port: number }) {
    this.#server = createServer((client) => {
      if (this.faults.refuse) {
        client.destroy();
        return;
      }
      const upstream = connect(target.port, target.host);
      const pair: [Socket, Socket] = [client, upstream];
      this.#pairs.add(pair);
      client.pipe(this.#faulty()).pipe(upstream);
      upstream.pipe(this.#faulty()).pipe(client);
      for (const socket of pair) {
        socket.on('error', () => {});
        socket.on('close', () => {
          this.#pairs.delete(pair);
          client.destroy();
          upstream.destroy();
        });
      }
    });
  }

  /** Starts a proxy on a free port in front of `target` (`host:port`, or any URL with a port). */
  static async start(target: string): Promise<TcpProxy> {
    const url = new URL(target.includes('://') ? target : `tcp://${target}`);
    const proxy = new TcpProxy({ host: url.hostname, port: Number(url.port) });
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** How many client connections are open. */
  get connections(): number {
    return this.#pairs.size;
  }

  /** `url` with this proxy's address in place of its own. */
  through(url: string): string {
    const proxied = new URL(url);
    proxied.hostname = '127.0.0.1';
    proxied.port = String(this.port);
    return proxied.href;
  }

  /** Cuts every open connection with a TCP reset. */
  resetAll(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.resetAndDestroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
    if (this.#server.listening) await once(this.#server, 'close');
  }

  #faulty(): Transform {
    return new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        const { delayMs = 0, bytesPerSecond, blackHole } = this.faults;
        if (blackHole) return done();
        const waitMs = delayMs + (bytesPerSecond === undefined ? 0 : (chunk.length / bytesPerSecond) * 1_000);
        if (waitMs === 0) return done(null, chunk);
        setTimeout(() => done(null, chunk), waitMs);
      },
    });
  }
}
