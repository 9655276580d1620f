import type { RemoteTier } from '../remote-tier.ts';
import { leaseCases } from './lease-cases.ts';
import { listenerCases } from './listener-cases.ts';
import { storageCases } from './storage-cases.ts';

/** Two tiers over one store that is empty, as two processes have them. */
export interface RemoteTierFixture {
  one: RemoteTier;
  two: RemoteTier;
  /** Lets time pass, for the tiers too; default: real time. Leases of 1,000 ms or less keep the suite short. */
  elapse?: ((ms: number) => Promise<void>) | undefined;
  /** Called after each case, when the tiers have been closed. */
  dispose?: (() => unknown) | undefined;
}

export interface ContractCase {
  name: string;
  /** Rejects if the tier breaks its contract. */
  run(): Promise<void>;
}

/** What a case is given. */
export interface CaseContext {
  one: RemoteTier;
  two: RemoteTier;
  elapse(ms: number): Promise<void>;
}

export type Cases = Readonly<Record<string, (context: CaseContext) => Promise<void>>>;

/**
 * What a `Cache` relies on in its remote tier, as cases for any test runner:
 *
 *     for (const { name, run } of remoteTierContract(open)) test(name, run);
 *
 * `open` is called for each case. The cases for `subscribe` are there only with `{ subscribes: true }`.
 */
export function remoteTierContract(
  open: () => RemoteTierFixture | Promise<RemoteTierFixture>,
  options: { subscribes?: boolean | undefined } = {},
): ContractCase[] {
  const cases: Cases = { ...storageCases, ...leaseCases, ...(options.subscribes ? listenerCases : {}) };
  return Object.entries(cases).map(([name, check]) => ({ name, run: () => inFixture(open, check) }));
}

async function inFixture(
  open: () => RemoteTierFixture | Promise<RemoteTierFixture>,
  check: (context: CaseContext) => Promise<void>,
): Promise<void> {
  const { one, two, elapse = realTime, dispose } = await open();
  try {
    await check({ one, two, elapse });
  } finally {
    await Promise.all([one.close(), two.close()]);
    await dispose?.();
  }
}

function realTime(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
