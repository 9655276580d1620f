export { ManualClock } from './manual-clock.ts';
export { type ReadmeExample, readmeExamples, runReadmeExample } from './readme-examples.ts';
export {
  type Admission,
  type OverloadOutcome,
  type OverloadScenario,
  type ServiceTime,
  serviceTimes,
  simulateOverload,
} from './simulate-overload.ts';
export { type Faults, TcpProxy } from './tcp-proxy.ts';
export { VirtualClock } from './virtual-clock.ts';
