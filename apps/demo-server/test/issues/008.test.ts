import { expect, test } from 'vitest';
import { checkHostAndOrigin } from '../../src/http-guards.ts';

// A server that listens on an IPv6 address refused every request that named that address: a Host header has it in brackets.

test.each([
  ['fd00::2', '[fd00::2]:4000'],
  ['::ffff:127.0.0.1', '[::ffff:127.0.0.1]'],
  ['fd00:0:0::0002', '[FD00::2]'],
  ['[FD00::2]', '[fd00::2]'],
  ['[fd00:0::2]', '[fd00::2]'],
  ['Demo.Example', 'demo.example:80'],
])('where the server is called %s, the Host %s is accepted', (allowed, host) => {
  const answers: unknown[] = [];
  const response = { status: (status: number) => ({ json: () => answers.push(status) }) };
  const check = checkHostAndOrigin({ allowedHosts: [allowed], allowedOrigins: [] });
  check({ headers: { host } } as any, response as any, () => answers.push('let through'));
  check({ headers: { host: '[fd00::3]' } } as any, response as any, () => answers.push('let through'));
  expect(answers).toEqual(['let through', 403]);
});
