import { type AddressInfo, createServer, type Socket } from 'node:net';

/** A message of PostgreSQL's protocol: its kind, its length, its body. */
export function message(kind: string, ...body: (number | string | Buffer)[]): Buffer {
  const bytes = Buffer.concat(body.map((part) => (typeof part === 'number' ? int32(part) : Buffer.from(part))));
  return Buffer.concat([Buffer.from(kind), int32(bytes.length + 4), bytes]);
}

export function int16(n: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(n);
  return bytes;
}

function int32(n: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(n);
  return bytes;
}

/** An error as the server sends it. */
export const refusal = (severity: string, sqlState: string): Buffer =>
  message('E', `S${severity}\0V${severity}\0C${sqlState}\0Mrefused\0\0`);

/** Login without a password, and ready for a query. */
export const welcome = Buffer.concat([message('R', 0), message('K', 1, 2), message('Z', 'I')]);

/** A server that answers what a test wants: `answer` is given the number of the message, from 0, which is the login. */
export class FakePostgres implements AsyncDisposable {
  readonly sockets = new Set<Socket>();
  readonly #server;

  private constructor(answer: (socket: Socket, n: number) => void) {
    this.#server = createServer((socket) => {
      let n = 0;
      this.sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.sockets.delete(socket));
      socket.on('data', () => answer(socket, n++));
    });
  }

  static async start(answer: (socket: Socket, n: number) => void): Promise<FakePostgres> {
    const fake = new FakePostgres(answer);
    await new Promise<void>((resolve) => fake.#server.listen(0, '127.0.0.1', resolve));
    return fake;
  }

  get url(): string {
    return `postgres://user:secret@127.0.0.1:${(this.#server.address() as AddressInfo).port}/db`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
