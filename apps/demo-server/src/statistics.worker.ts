// Runs in a worker thread, so that the event loop stays free for other callers. What is exported here is a task.
export { statistics } from './tools/statistics.ts';
