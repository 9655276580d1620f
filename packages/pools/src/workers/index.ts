export { move } from 'piscina';
export type { Clock } from '../clock.ts';
export { PoolError, type PoolErrorCode, type PoolErrorDetails } from '../errors.ts';
export { defineWorker, type WorkerContext, type WorkerTask, type WorkerTasks } from './define-worker.ts';
export type { WorkerPoolOptions } from './pool-options.ts';
export type { WorkerRunOptions } from './run-options.ts';
export { WorkerPool, type WorkerPoolStats } from './worker-pool.ts';
