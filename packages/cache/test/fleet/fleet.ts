import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { startRedis } from '@x/local-services';
import { TcpProxy } from '@x/testkit';
import { Redis } from 'ioredis';

const packageFolder = join(import.meta.dirname, '../..');

/** A fresh value that a member was given. */
export type Seen = [
  key: string,
  version: number,
  calledAt: number,
  loadStartedAt: number,
  loadEndedAt: number,
  stalledMs: number,
  tier: string,
  wasSet: boolean,
];

/** A newer version of a key that was made known, and is in force. */
export interface Invalidation {
  key: string;
  version: number;
  calledAt: number;
  /** When the call was over. */
  returnedAt: number;
  /** When Redis owed nothing for it any more. */
  at: number;
}

export interface FleetSettings {
  invalidation: 'tracking' | 'pubsub';
  maxLagMs: number;
  commandTimeoutMs: number;
  leaseMs: number;
}

export const SETTINGS: FleetSettings = {
  invalidation: 'tracking',
  maxLagMs: 1_000,
  commandTimeoutMs: 200,
  leaseMs: 1_000,
};

type Message = Invalidation & {
  kind: string;
  id: number;
  answer: unknown;
  reads: Seen[];
  state: string;
};

/** Processes of their own that share a cache over a real Redis, each through a proxy of its own. */
export class Fleet implements AsyncDisposable {
  readonly proxies: TcpProxy[] = [];
  readonly redis: Awaited<ReturnType<typeof startRedis>>;
  /** What is true and how often it was loaded; nothing happens to it. */
  readonly truth: Redis;
  onSeen: (member: number, seen: Seen) => void = () => {};
  onInvalidated: (invalidation: Invalidation) => void = () => {};
  onCoherence: (member: number, state: string) => void = () => {};
  /** Set when a member ended without having been killed. */
  died: string | undefined;
  readonly #settings: FleetSettings;
  readonly #truthService: Awaited<ReturnType<typeof startRedis>>;
  readonly #members: ChildProcess[] = [];
  #asked = 0;
  #ending = false;

  private constructor(
    redis: Awaited<ReturnType<typeof startRedis>>,
    truth: Awaited<ReturnType<typeof startRedis>>,
    settings: FleetSettings,
  ) {
    this.redis = redis;
    this.#truthService = truth;
    this.#settings = settings;
    this.truth = new Redis(truth.url);
  }

  static async start(size: number, settings: FleetSettings = SETTINGS): Promise<Fleet> {
    // Members import the built package.
    execFileSync(process.execPath, [join(packageFolder, '../../node_modules/typescript/bin/tsc'), '-b'], {
      cwd: packageFolder,
    });
    const own = { external: false };
    const fleet = new Fleet(await startRedis(own), await startRedis(own), settings);
    for (let member = 0; member < size; member++) {
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
    const settings = JSON.stringify({ member, redisUrl, truthUrl: this.#truthService.url, ...this.#settings });
    const child = fork(join(packageFolder, 'test/fixtures/fleet-member.mjs'), [settings], { execArgv: [] });
    this.#members[member] = child;
    child.on('message', (message: Message) => {
      if (message.kind === 'seen') for (const seen of message.reads) this.onSeen(member, seen);
      if (message.kind === 'invalidated') this.onInvalidated(message);
      if (message.kind === 'coherence') this.onCoherence(member, message.state);
    });
    child.once('exit', (code) => {
      if (!this.#ending && code !== null) this.died = `member ${member} ended by itself with code ${code}`;
    });
    await new Promise<void>((resolve) => {
      child.on('message', ({ kind }: Message) => {
        if (kind === 'ready') resolve();
      });
    });
  }

  /** Has a member do something; a member that was killed never answers. */
  ask<T>(member: number, name: string, given: Record<string, unknown> = {}): Promise<T> {
    const child = this.#members[member] as ChildProcess;
    const id = ++this.#asked;
    return new Promise((resolve) => {
      const onMessage = (message: Message) => {
        if (message.kind !== 'answer' || message.id !== id) return;
        child.off('message', onMessage);
        resolve(message.answer as T);
      };
      child.on('message', onMessage);
      child.send({ id, name, ...given });
    });
  }

  all<T>(name: string, given: Record<string, unknown> = {}): Promise<T[]> {
    return Promise.all(this.#members.map((_, member) => this.ask<T>(member, name, given)));
  }

  async loads(key: string): Promise<number> {
    return Number((await this.truth.get(`loads:${key}`)) ?? 0);
  }

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

  /** As somebody with redis-cli. */
  async outside(run: (redis: Redis) => Promise<unknown>): Promise<void> {
    const redis = new Redis(this.redis.url, { retryStrategy: () => 50, maxRetriesPerRequest: null });
    redis.on('error', () => {});
    try {
      await run(redis);
    } finally {
      redis.disconnect();
    }
  }

  async until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
    const deadline = performance.now() + 15_000;
    while (!(await condition())) {
      if (this.died !== undefined) throw new Error(this.died);
      if (performance.now() > deadline) throw new Error(`not so after 15 s: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending = true;
    await Promise.all(this.#members.map((_, member) => this.kill(member)));
    for (const proxy of this.proxies) await proxy[Symbol.asyncDispose]();
    this.truth.disconnect();
    await this.#truthService[Symbol.asyncDispose]();
    await this.redis[Symbol.asyncDispose]();
  }
}
