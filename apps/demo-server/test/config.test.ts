import { afterEach, expect, test, vi } from 'vitest';
import { readConfig } from '../src/config.ts';

const read = (...argv: string[]) => readConfig(argv, { print: () => {} });

afterEach(() => vi.unstubAllEnvs());

test('without flags it listens on loopback, on a free port', () => {
  expect(read()).toMatchObject({ host: '127.0.0.1', port: 0, stdio: false, poolMin: 10, poolMax: 20 });
});

test('an address is taken as in a URL, too', () => {
  expect(readConfig(['--host', '[::1]']).host).toBe('::1');
  expect(readConfig(['--host', 'LocalHost']).host).toBe('localhost');
});

test('a flag wins over the environment, the environment over the default', () => {
  vi.stubEnv('PORT', '4000');
  expect(read().port).toBe(4000);
  expect(read('--port', '5000').port).toBe(5000);
});

test.each([
  [['--port', '70000'], /from 0 to 65535/],
  [['--port', '1e3'], /from 0 to 65535/],
  [['--port', ''], /from 0 to 65535/],
  [['--pool-max', '0'], /from 1 to 1000/],
  [['--pool-min', '30'], /--pool-min must be at most --pool-max \(20\), got 30/],
  [['--database-url', 'mysql://x'], /postgres:\/\/ or postgresql:\/\//],
  [['--redis-url', 'localhost:6379'], /redis:\/\/ or rediss:\/\//],
  [['--log-level', 'loud'], /trace, debug, info, warn, error, fatal, silent/],
  [['--fetch-origins', 'https://api.example.com/path'], /origins such as https:\/\/api\.example\.com/],
  [['--token', 'short'], /16 to 4096/],
  [['--upstream-url', 'http://user:pw@127.0.0.1:1/'], /no user, password, query or fragment/],
  [['--allowed-hosts', 'https://mcp.example.com'], /host names without scheme and port/],
  [['--nonsense'], /unknown option/],
  [['surplus'], /too many arguments/],
])('%j is refused with what is allowed', (argv, message) => {
  expect(() => read(...argv)).toThrow(message);
});

test.each(['MCP_TOKEN', 'DATABASE_URL', 'REDIS_URL'])('a refused %s is not repeated in the message', (variable) => {
  vi.stubEnv(variable, 'hunter2 with a space');
  expect(() => read()).toThrow(expect.objectContaining({ message: expect.not.stringContaining('hunter2') }));
});

test('a host that others can reach needs a token or --insecure', () => {
  expect(() => read('--host', '0.0.0.0')).toThrow(/bearer token \(MCP_TOKEN.*--insecure/);
  expect(read('--host', '0.0.0.0', '--insecure').host).toBe('0.0.0.0');
  expect(read('--host', '0.0.0.0', '--token', 'a-token-that-is-long').host).toBe('0.0.0.0');
});

test('--help lists every setting with its environment variable', () => {
  let help = '';
  const print = (text: string) => {
    help += text;
  };
  expect(() => readConfig(['--help'], { print })).toThrow(expect.objectContaining({ exitCode: 0 }));
  for (const setting of [
    '--port',
    '--host',
    '--stdio',
    '--database-url',
    '--redis-url',
    'DATABASE_URL',
    'MAX_CONCURRENCY',
    '--tool-timeout',
    'LOG_LEVEL',
  ]) {
    expect(help).toContain(setting);
  }
});

test('an empty variable counts as absent', () => {
  vi.stubEnv('DATABASE_URL', '');
  vi.stubEnv('MCP_TOKEN', '');
  vi.stubEnv('PORT', '');
  const { databaseUrl, token, port } = read();
  expect([databaseUrl, token, port]).toEqual([undefined, undefined, 0]);
});
