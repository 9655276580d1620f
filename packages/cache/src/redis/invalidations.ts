import type { Clock } from '../clock.ts';
import type { RemoteListener } from '../remote-tier.ts';
import { type Hearing, InvalidationLink } from './invalidation-link.ts';
import { OwnWrites } from './own-writes.ts';
import type { Publications } from './publications.ts';
import { connector, type RedisClient, type RedisNode } from './redis-client.ts';

export interface InvalidationsOptions {
  client: RedisClient;
  wanted: Hearing;
  prefix: string;
  maxLagMs: number;
  retryAfterMs: number;
  clock: Clock;
  listener: RemoteListener;
  publications: Publications;
  /** The version that stands at a key; '' if none. */
  versionOf: (key: string) => Promise<string>;
}

const LONGEST_HEARTBEAT_MS = 5_000;
const FIRST_LOOK_MS = 20;

/** Hears what others do to the keys below a prefix, from one server or from all masters of a cluster, and tells a listener. */
export class Invalidations {
  /** What this process does to keys below the prefix: it need not be told of that. */
  readonly own: OwnWrites = new OwnWrites();
  readonly #options: InvalidationsOptions;
  readonly #storedPrefix: string;
  readonly #heartbeatMs: number;
  /** By host and port. */
  readonly #links = new Map<string, { link: InvalidationLink; currentAt: number }>();
  /** Questions about own writes that Redis has not answered. */
  readonly #asking = new Set<Promise<void>>();
  #hearing: Hearing;
  #degradedTo: string | undefined;
  #back = false;
  #timer: unknown;
  #closed = false;

  constructor(options: InvalidationsOptions) {
    this.#options = options;
    this.#hearing = options.wanted;
    this.#storedPrefix = (options.client.options?.keyPrefix ?? '') + options.prefix;
    this.#heartbeatMs = Math.min(options.maxLagMs / 4, LONGEST_HEARTBEAT_MS);
    options.publications.onRefused = (error) => options.listener.degraded('unpublished', error);
    this.#watchTopology();
  }

  /** Whether the server tells nothing of changes. */
  get byMessagesOnly(): boolean {
    return this.#hearing === 'pubsub';
  }

  /** Takes keys for changed. */
  forget(keys: readonly string[]): void {
    this.#options.listener.changed(keys);
  }

  /** Something is worse than was asked for. */
  degraded(to: string, reason: unknown): void {
    if (!this.#closed) this.#options.listener.degraded(to, reason);
  }

  close(): void {
    this.#closed = true;
    this.#options.clock.clearTimeout(this.#timer);
    for (const { link } of this.#links.values()) link.close();
    this.#links.clear();
  }

  /** One link for each node. The client's own events would do too, but it is not ours to listen to. */
  #watchTopology(): void {
    const { client, clock } = this.#options;
    const nodes: readonly RedisNode[] = client.nodes?.('master') ?? [client];
    const names = new Set(nodes.map(nameOf));
    let changed = false;
    for (const [name, { link }] of this.#links) {
      if (names.has(name)) continue;
      link.close();
      this.#links.delete(name);
      changed = true;
    }
    for (const node of nodes) {
      if (this.#links.has(nameOf(node))) continue;
      this.#add(node);
      changed = true;
    }
    if (changed) this.#lost(new Error('@x/cache: the nodes of the cluster have changed'));
    this.#whenAllUp();
    if (client.nodes === undefined) return;
    // A client that has just been made knows none yet.
    const delayMs = names.size === 0 ? Math.min(this.#heartbeatMs, FIRST_LOOK_MS) : this.#heartbeatMs;
    this.#timer = clock.setTimeout(() => this.#watchTopology(), delayMs);
    (this.#timer as { unref?: () => void }).unref?.();
  }

  #add(node: RedisNode): void {
    const connect = connector(node);
    if (connect === undefined) return;
    const { wanted, publications, retryAfterMs, clock } = this.#options;
    const name = nameOf(node);
    const link = new InvalidationLink({
      connect,
      wanted,
      keyPrefix: this.#storedPrefix,
      channel: publications.channel,
      heartbeatMs: this.#heartbeatMs,
      retryAfterMs,
      clock,
      onKeys: (names) => this.#heardKeys(names),
      onPublished: (text) => this.#heardPublished(text),
      onUp: (hearing) => {
        this.#hearing = hearing;
        if (hearing === wanted) this.#degradedTo = undefined;
        this.#whenAllUp();
      },
      onDown: (reason) => this.#lost(reason),
      onCurrent: (at) => void this.#current(name, at),
      onRefused: (instead, error) => this.#refused(instead, error),
    });
    this.#links.set(name, { link, currentAt: Number.NEGATIVE_INFINITY });
  }

  #lost(reason: unknown): void {
    if (!this.#back) return;
    this.#back = false;
    this.#options.listener.lost(reason);
  }

  #whenAllUp(): void {
    if (this.#back || this.#links.size === 0) return;
    for (const { link } of this.#links.values()) if (!link.up) return;
    this.#back = true;
    const now = this.#options.clock.now();
    for (const each of this.#links.values()) each.currentAt = now;
    this.#options.listener.back();
  }

  async #current(name: string, at: number): Promise<void> {
    // What was heard before is told before.
    await Promise.all(this.#asking);
    const heard = this.#links.get(name);
    if (heard === undefined || this.#closed || !this.#back) return;
    heard.currentAt = Math.max(heard.currentAt, at);
    this.own.age();
    let oldest = Number.POSITIVE_INFINITY;
    for (const { currentAt } of this.#links.values()) oldest = Math.min(oldest, currentAt);
    this.#options.listener.current(this.#options.clock.now() - oldest);
  }

  #refused(instead: 'pubsub' | 'none', error: unknown): void {
    if (instead === this.#degradedTo) return;
    this.#degradedTo = instead;
    this.#options.listener.degraded(instead, error);
  }

  #heardKeys(names: readonly string[] | undefined): void {
    const { listener } = this.#options;
    if (names === undefined) listener.everythingChanged();
    const foreign: string[] = [];
    for (const name of names ?? []) {
      if (!name.startsWith(this.#storedPrefix)) continue;
      const key = name.slice(this.#storedPrefix.length);
      const version = this.own.version(key);
      if (version === undefined) foreign.push(key);
      else if (listener.holds(key)) this.#ask(key, version);
    }
    if (foreign.length > 0) listener.changed(foreign);
  }

  /** Tells of the key unless what stands there is this process's own. */
  #ask(key: string, version: string): void {
    const { listener, versionOf } = this.#options;
    const asked = versionOf(key).then(
      (found) => {
        // Ours has perhaps been followed by another of ours meanwhile.
        if (found !== version && !this.own.explains(key, found)) listener.changed([key]);
      },
      () => listener.changed([key]),
    );
    this.#asking.add(asked);
    void asked.then(() => this.#asking.delete(asked));
  }

  #heardPublished(text: string): void {
    const { listener, publications } = this.#options;
    const heard = publications.read(text);
    if (heard === undefined) return;
    if (heard.keys !== undefined) listener.changed(heard.keys);
    else if (heard.tags !== undefined) listener.tagsChanged(heard.tags);
    else if (heard.pattern !== undefined) listener.patternChanged(heard.pattern);
    else listener.everythingChanged();
  }
}

function nameOf(node: RedisNode): string {
  return `${node.options?.host ?? ''}:${node.options?.port ?? ''}`;
}
