import type { Fleet } from './fleet.ts';
import { SETTINGS } from './fleet.ts';

const CALLERS = 20;
const LOAD_MS = 50;
/** What the machine may add. Milliseconds. */
const SLACK_MS = 500;

interface Troubles {
  failures: number;
  stallMs: number;
}

/** Asks for cold keys in all processes at once when no fault is on, and judges how often they were loaded. */
export class Stampedes {
  cold = 0;
  coldLoads = 0;
  killed = 0;
  longestWaitMs = 0;
  /** Rounds in which a process did not reach Redis after all, be it only that the machine stood still: it then loads for itself, once. */
  disturbed = 0;
  readonly #fleet: Fleet;
  readonly #pick: (below: number) => number;
  readonly #live: (member: number) => void;

  constructor(fleet: Fleet, pick: (below: number) => number, live: (member: number) => void) {
    this.#fleet = fleet;
    this.#pick = pick;
    this.#live = live;
  }

  /** What is wrong, if anything is. */
  async round(): Promise<string[]> {
    await this.#fleet.until(async () => {
      const stats = await this.#fleet.all<{ available: boolean }>('stats');
      return stats.every(({ available }) => available);
    }, 'all reach Redis');
    return this.#pick(3) === 0 ? this.#holderKilled() : this.#coldKey();
  }

  async #coldKey(): Promise<string[]> {
    const key = `cold ${++this.cold}`;
    const all = Array.from({ length: this.#fleet.size }, (_, member) => member);
    const before = await this.#troubles(all);
    await this.#fleet.all('burst', burst(key, LOAD_MS));
    const loads = await this.#fleet.loads(key);
    this.coldLoads += loads;
    const meanwhile = since(before, await this.#troubles(all));
    if (this.#asPromised(loads, 1, all.length, meanwhile)) return [];
    return [`${loads} loads of ${key} for ${all.length} processes of ${CALLERS} callers each ${told(meanwhile)}`];
  }

  async #holderKilled(): Promise<string[]> {
    const key = `killed ${++this.killed}`;
    const holder = this.#pick(this.#fleet.size);
    const others = Array.from({ length: this.#fleet.size }, (_, member) => member).filter(
      (member) => member !== holder,
    );
    const before = await this.#troubles(others);
    void this.#fleet.ask(holder, 'burst', burst(key, 600_000));
    await this.#fleet.until(async () => (await this.#fleet.loads(key)) === 1, 'a load');
    const waiting = Promise.all(others.map((member) => this.#fleet.ask(member, 'burst', burst(key, LOAD_MS))));
    await this.#fleet.kill(holder);
    const killedAt = performance.now();
    await waiting;
    const waitMs = performance.now() - killedAt;
    this.longestWaitMs = Math.max(this.longestWaitMs, waitMs);
    const loads = await this.#fleet.loads(key);
    const meanwhile = since(before, await this.#troubles(others));
    await this.#fleet.spawn(holder);
    this.#live(holder);
    const wrong: string[] = [];
    if (!this.#asPromised(loads, 2, 1 + others.length, meanwhile)) {
      wrong.push(`${loads} loads of ${key} after its holder was killed ${told(meanwhile)}`);
    }
    if (waitMs > SETTINGS.leaseMs + LOAD_MS + SLACK_MS)
      wrong.push(`${Math.round(waitMs)} ms waited for ${key} ${told(meanwhile)}`);
    return wrong;
  }

  #asPromised(loads: number, promised: number, most: number, { failures }: Troubles): boolean {
    if (failures === 0) return loads === promised;
    this.disturbed++;
    return loads >= promised && loads <= most;
  }

  /** What tells a machine that is too busy from a fault of ours: commands that failed, and for how long a process did not run. */
  async #troubles(members: readonly number[]): Promise<Troubles> {
    const stats = await Promise.all(
      members.map((member) => this.#fleet.ask<{ remoteFailures: number; longestStallMs: number }>(member, 'stats')),
    );
    return {
      failures: stats.reduce((sum, one) => sum + one.remoteFailures, 0),
      stallMs: Math.max(...stats.map((one) => one.longestStallMs)),
    };
  }
}

function since(before: Troubles, now: Troubles): Troubles {
  return { failures: now.failures - before.failures, stallMs: now.stallMs };
}

function told({ failures, stallMs }: Troubles): string {
  return `(${failures} commands to Redis failed meanwhile, longest stall of late ${stallMs} ms)`;
}

function burst(key: string, loadMs: number) {
  return { key, callers: CALLERS, loadMs, ttlMs: 60_000 };
}
