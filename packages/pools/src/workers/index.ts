export { move } from 'piscina';
export type { Clock } from '../clock.ts';
export { PoolError, type PoolErrorCode, type PoolErrorDetails } from '../errors.ts';
export { defineWorker, type WorkerTask, type WorkerTasks } from './define-worker.ts';
export { WorkerPool, type WorkerPoolOptions, type WorkerPoolStats, type WorkerRunOptions } from './worker-pool.ts';
