import { fileURLToPath } from 'node:url';
import type { Config } from './config.ts';

/** What a newcomer needs to know once the server listens. The token is named, never printed. */
export function banner(url: string, upstreamUrl: string, config: Config): string {
  const main = fileURLToPath(new URL('./main.js', import.meta.url));
  const base = new URL(url).origin;
  const header = config.token === undefined ? '' : ` -H 'authorization: Bearer <token>'`;
  const http = {
    mcpServers: {
      'x-demo': {
        type: 'http',
        url,
        ...(config.token === undefined ? {} : { headers: { Authorization: 'Bearer <token>' } }),
      },
    },
  };
  const stdio = { mcpServers: { 'x-demo': { command: 'node', args: [main, '--stdio'] } } };
  return `
MCP demo server: ${url}

Connect a client
  over HTTP    ${JSON.stringify(http)}
  over stdio   ${JSON.stringify(stdio)}
  inspector    npx -y @modelcontextprotocol/inspector@0.15.0 --cli ${url} --transport http --method tools/list
  curl         curl -s ${url}${header} -H 'content-type: application/json' -H 'accept: application/json, text/event-stream' -d '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_user","arguments":{"user_id":"u1"}}}'

Look at it   ${base}/metrics   ${base}/healthz   ${base}/readyz
Load it      npx -y pnpm@12 loadtest ${url} --tool get_user --args '{"user_id":"u1"}' --concurrency 100 --duration 60
${config.upstreamUrl === undefined ? `Break it     curl -X PUT ${upstreamUrl}/control -H 'content-type: application/json' -d '{"mode":"failing"}'   (ok, slow, failing, dead)` : ''}

Ctrl-C stops it.
`;
}
