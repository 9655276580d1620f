import { expect, test } from 'vitest';
import { runCommandLine } from '../../src/command-line.ts';

// A --header without its colon, and a target with a mistake in its scheme, were printed with the secrets in them.

test.each([
  [['http://h/', '--tool', 't', '--header', 'Authorization Bearer s3cret'], "Expected --header to be 'Name: value'.\n"],
  [
    ['http://h/', '--tool', 't', '--header', 'Authorization: s3cret\u0000'],
    'headers must be names and values that HTTP allows\n',
  ],
  [['htp://me:s3cret@h/mcp', '--tool', 't'], 'target must be an http or https URL, got "htp://h/mcp"\n'],
  [['htp://h/mcp?token=s3cret', '--tool', 't'], 'target must be an http or https URL, got "htp://h/mcp"\n'],
  [['me:s3cret@h', '--tool', 't'], 'target must be an http or https URL, got "h"\n'],
])('wrong usage %j is told without the secret', async (args, message) => {
  let stdout = '';
  let stderr = '';
  const code = await runCommandLine(args, {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: { write: (text: string) => (stderr += text) },
    signal: new AbortController().signal,
  } as never);
  expect({ code, stdout, stderr }).toEqual({ code: 2, stdout: '', stderr: message });
});
