#!/usr/bin/env node
import { constants } from 'node:os';
import { banner } from './banner.ts';
import { readConfig } from './config.ts';
import { createLogger } from './logger.ts';
import { watchLaunchers } from './parent-watch.ts';
import { type DemoServer, startDemoServer } from './server.ts';

const config = readConfig(process.argv.slice(2));
const logger = createLogger(config.logLevel);

let server: DemoServer | undefined;
const stopping = new AbortController();

/** Ends the process in order. While it is still starting, the start is ended, and its end is that of the process. */
function stop(why: string): void {
  if (stopping.signal.aborted) return;
  logger.info({ why }, 'stopping');
  stopping.abort(new Error(why));
  server?.close().then(
    () => process.exit(0),
    (error) => {
      logger.error({ err: error }, 'could not stop in order');
      process.exit(1);
    },
  );
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  // A second signal means that somebody will not wait.
  process.on(signal, () => (stopping.signal.aborted ? process.exit(128 + constants.signals[signal]) : stop(signal)));
}
watchLaunchers(() => stop('the program that started this server has gone'));

logger.info('starting');
try {
  server = await startDemoServer(config, logger, {
    signal: stopping.signal,
    onDisconnect: () => stop('the client has gone'),
  });
  if (stopping.signal.aborted) {
    await server.close();
    process.exit(0);
  }
  logger.info({ url: server.url, upstreamUrl: server.upstreamUrl }, 'listening');
  if (server.url !== undefined) console.log(banner(server.url, server.upstreamUrl, config));
} catch (error) {
  if (stopping.signal.aborted) process.exit(0);
  logger.fatal({ err: error }, 'could not start');
  process.exit(1);
}
