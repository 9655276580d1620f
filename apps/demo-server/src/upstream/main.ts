import type { AddressInfo } from 'node:net';
import { createUpstreamApi } from './upstream-api.ts';

// A child of the demo server: tells its port over the IPC channel, and ends with its parent, however that ends.
const server = createUpstreamApi();
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
process.on('disconnect', () => process.exit(0));
// Ctrl-C reaches the whole group; the parent still needs the API for the calls that it lets finish.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});
