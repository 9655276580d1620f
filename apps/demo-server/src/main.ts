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
let stopping = false;

/** Ends the process in order. While it is still starting, the end of the start takes care of it. */
function stop(why: string): void {
  if (stopping) return;
  stopping = true;
  logger.info({ why }, 'stopping');
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
  process.on(signal, () => (stopping ? process.exit(128 + constants.signals[signal]) : stop(signal)));
}
watchLaunchers(() => stop('the program that started this server has gone'));

try {
  const started = await startDemoServer(config, logger, () => stop('the client has gone'));
  server = started;
  if (stopping) {
    await started.close();
    process.exit(0);
  }
  logger.info({ url: started.url, upstreamUrl: started.upstreamUrl }, 'listening');
  if (started.url !== undefined) console.log(banner(started.url, started.upstreamUrl, config));
} catch (error) {
  logger.fatal({ err: error }, 'could not start');
  process.exit(1);
}
