import { connect as connectTcp, isIP } from 'node:net';
import { connect as connectTls } from 'node:tls';

/** Asks a Redis for a sign of life in its own protocol: no client library is needed for that. */
export function probeRedis(url: string, timeoutMs: number): Promise<void> {
  const { protocol, hostname, port, username, password } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, '');
  const to = { host, port: Number(port || 6379) };
  const credentials = [username, password].filter((part) => part !== '').map(decodeURIComponent);
  const commands = [...(password ? [['AUTH', ...credentials]] : []), ['PING']];
  const expected = password ? '+OK\r\n+PONG\r\n' : '+PONG\r\n';
  return new Promise((resolve, reject) => {
    const socket =
      protocol === 'rediss:' ? connectTls({ ...to, ...(isIP(host) ? {} : { servername: host }) }) : connectTcp(to);
    let reply = '';
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error('no answer in time')));
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`unexpected answer: ${JSON.stringify(reply)}`)));
    socket.on('data', (bytes) => {
      reply += bytes.toString('latin1');
      if (reply === expected) resolve();
      if (reply.startsWith('-') || reply.length >= expected.length) socket.destroy();
    });
    socket.write(commands.map(encode).join(''));
  });
}

function encode(words: string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
}
