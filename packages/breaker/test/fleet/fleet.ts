import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { BreakerState, BreakerStats, StateChangeReason } from '@x/breaker';
import { startRedis } from '@x/local-services';
import { TcpProxy } from '@x/testkit';
import { Dependency } from './dependency.ts';

const packageFolder = join(import.meta.dirname, '../..');

export interface StateChange {
  member: number;
  from: BreakerState;
  to: BreakerState;
  reason: StateChangeReason;
  /** Milliseconds since 1970, by the member: all run on one machine. */
  at: number;
}

export interface MemberStats extends BreakerStats {
  answered: number;
  failed: number;
  refused: number;
  longestRefusalMs: number;
  /** Whether Redis answers it. */
  available: boolean;
}

export const SETTINGS = { callEveryMs: 5, callTimeoutMs: 300, recoveryTimeoutMs: 500, probeLeaseMs: 3_000 };

/** Processes of their own that share one circuit over a real Redis, each through a proxy of its own, and call one dependency. */
export class Fleet implements AsyncDisposable {
  readonly changes: StateChange[] = [];
  readonly proxies: TcpProxy[] = [];
  readonly redis: Awaited<ReturnType<typeof startRedis>>;
  readonly dependency: Dependency;
  readonly #members: ChildProcess[] = [];
  #ending = false;

  private constructor(redis: Awaited<ReturnType<typeof startRedis>>, dependency: Dependency) {
    this.redis = redis;
    this.dependency = dependency;
  }

  static async start(size: number): Promise<Fleet> {
    // Members import the built package.
    execFileSync(process.execPath, [join(packageFolder, '../../node_modules/typescript/bin/tsc'), '-b'], {
      cwd: packageFolder,
    });
    const fleet = new Fleet(await startRedis({ external: false }), await Dependency.start());
    for (let member = 0; member < size; member += 1) {
      fleet.proxies.push(await TcpProxy.start(fleet.redis.url));
      await fleet.spawn(member);
    }
    return fleet;
  }

  get size(): number {
    return this.#members.length;
  }

  /** Starts a member, or starts it again after it was killed. */
  async spawn(member: number): Promise<void> {
    const redisUrl = this.proxies[member]?.through(this.redis.url);
    const settings = JSON.stringify({ member, redisUrl, dependencyUrl: this.dependency.url, ...SETTINGS });
    const child = fork(join(packageFolder, 'test/fixtures/fleet-member.mjs'), [settings], { execArgv: [] });
    this.#members[member] = child;
    child.on('message', (message: { kind: string } & Omit<StateChange, 'member'>) => {
      if (message.kind === 'state') this.changes.push({ ...message, member });
    });
    child.once('exit', (code) => {
      if (!this.#ending && code !== null) this.died = `member ${member} ended by itself with code ${code}`;
    });
    await once(child, 'message');
  }

  /** Set when a member ended without having been killed. */
  died: string | undefined;

  async kill(member: number): Promise<void> {
    const child = this.#members[member];
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  /** Stops a member where it is, or lets it go on: a process that the system gives no time. */
  freeze(member: number, frozen: boolean): void {
    this.#members[member]?.kill(frozen ? 'SIGSTOP' : 'SIGCONT');
  }

  async stats(): Promise<MemberStats[]> {
    return Promise.all(
      this.#members.map(
        (child) =>
          new Promise<MemberStats>((resolve) => {
            const onMessage = (message: { kind: string } & MemberStats) => {
              if (message.kind !== 'stats') return;
              child.off('message', onMessage);
              resolve(message);
            };
            child.on('message', onMessage);
            child.send('stats');
          }),
      ),
    );
  }

  /** Resolves when all members are in this state; at the latest after `withinMs` it throws. */
  async all(state: BreakerState, withinMs = 15_000): Promise<void> {
    await this.until(async () => (await this.stats()).every((one) => one.state === state), `all ${state}`, withinMs);
  }

  async until(condition: () => boolean | Promise<boolean>, what: string, withinMs = 15_000): Promise<void> {
    const deadline = performance.now() + withinMs;
    while (!(await condition())) {
      if (this.died !== undefined) throw new Error(this.died);
      if (performance.now() > deadline) {
        throw new Error(
          `not ${what}: ${JSON.stringify(await this.stats())} ${JSON.stringify(this.changes.slice(-20))}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending = true;
    await Promise.all(this.#members.map((_, member) => this.kill(member)));
    for (const proxy of this.proxies) await proxy[Symbol.asyncDispose]();
    await this.dependency[Symbol.asyncDispose]();
    await this.redis[Symbol.asyncDispose]();
  }
}
