export { type CachedToolOptions, cachedTool, type ToolHandler } from './cached-tool.ts';
export { identify } from './identify.ts';
