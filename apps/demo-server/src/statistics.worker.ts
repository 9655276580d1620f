import { defineWorker } from '@x/pools/workers';
import { statistics } from './tools/statistics.ts';

/** Runs in a worker thread, so that the event loop stays free for other callers. */
export default defineWorker({ statistics });
