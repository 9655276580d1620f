import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import type { Tool } from './tools/tool.ts';

const INSTRUCTIONS =
  'Demo of a fast MCP server. Users are u1 to u5000, units of the organisation o1 to o881. A result with isError says in its text what to do and, where waiting helps, for how many seconds.';

// process_large_dataset takes 100,000 numbers; nothing needs more.
const MAX_INPUT_ELEMENTS = 101_000;

/** A server with every tool. Cheap enough to make for each HTTP request: schemas and handlers exist already. */
export function createMcpServer(tools: readonly Tool[]): McpServer {
  const server = new McpServer(
    { name: 'x-demo-server', title: '@x demo server', version: '0.1.0' },
    { instructions: INSTRUCTIONS, maxToolInputElements: MAX_INPUT_ELEMENTS },
  );
  for (const { description, handler } of tools) {
    const { name, ...config } = description;
    server.registerTool(name, config, handler);
  }
  return server;
}
