export { ManualClock } from './manual-clock.ts';
export { type ReadmeExample, readmeExamples, runReadmeExample } from './readme-examples.ts';
export { type Faults, TcpProxy } from './tcp-proxy.ts';
