import { randomBytes } from 'node:crypto';
import type { Clock } from '../clock.ts';
import type { SharedCircuit, SharedMember } from '../shared-state.ts';
import { type CircuitRecord, parseRecords } from './circuit-record.ts';
import type { RedisLink } from './redis-link.ts';
import type { Verb } from './scripts.ts';

/** A longer period is not shared to its end: what lies further ahead in Redis is taken for garbage. */
const LONGEST_SHARED_MS = 86_400_000;

/** One breaker's part in a shared circuit. */
export class RedisCircuit implements SharedCircuit {
  readonly name: string;
  readonly #member: SharedMember;
  readonly #link: RedisLink;
  readonly #clock: Clock;
  /** Who this is to the others. */
  readonly #token = newId();
  /** The last change that this breaker has heard of or made. */
  #known = '-';
  /** Counts what is said and done here: what was asked before and is answered after may be out of date. */
  #turn = 0;
  /** The circuit opened here, and Redis may not know. */
  #untold = false;
  /** Leases that were asked for and not answered yet. */
  readonly #asked = new Set<Promise<void>>();
  /** Redis may hold a lease for this, whatever is known of it here. */
  #mayHold = false;
  /** Until when this process may probe, by its own clock. */
  #leaseUntil = 0;
  /** Got the lease, and no call has come yet to use it. */
  #leaseUnused = false;
  /** Until when another process has the lease, as far as is known here. */
  #othersUntil = 0;

  constructor(member: SharedMember, link: RedisLink, clock: Clock) {
    // As Redis gives it back: half of a surrogate pair is not stored.
    this.name = Buffer.from(member.name).toString();
    this.#member = member;
    this.#link = link;
    this.#clock = clock;
  }

  opened(): void {
    this.#leaseUntil = 0;
    this.#untold = true;
    this.#turn += 1;
    void this.#tell();
  }

  closed(): void {
    void this.#close('0');
  }

  reset(): void {
    void this.#close('1');
  }

  mayProbe(leaseMs: number): boolean {
    // Without the others each process is on its own.
    if (!this.#link.usable) return true;
    const now = this.#clock.now();
    if (now < this.#leaseUntil) return true;
    if (now < this.#othersUntil) return false;
    // Calls come so rarely that a lease is over before the next one: that call probes, or none ever would.
    if (this.#leaseUnused) {
      this.#leaseUnused = false;
      return true;
    }
    if (this.#asked.size === 0) this.#ask(leaseMs, true);
    return false;
  }

  probing(leaseMs: number): void {
    this.#leaseUnused = false;
    this.#ask(leaseMs, false);
  }

  /** Hands the lease back, also one that is being asked for, so that others need not wait for its end. */
  async release(): Promise<void> {
    // Not overtaken by this: where Redis does not know the script, what was sent first is done later.
    await Promise.all(this.#asked);
    this.#leaseUntil = 0;
    if (this.#mayHold) await this.#send('release', []);
  }

  /** Which turn it was when a sync was sent. */
  get turn(): number {
    return this.#turn;
  }

  /** What a sync that was sent at `turn` found. */
  synced(record: CircuitRecord | undefined, turn: number): void {
    if (turn !== this.#turn) return;
    this.#hear(record);
    // Redis was away when the circuit opened, or has been flushed since.
    if (this.#member.openForMs > 0 && (this.#untold || record === undefined)) void this.#tell();
  }

  async #tell(): Promise<void> {
    // A listener may have closed it again by now.
    const { openForMs, openings } = this.#member;
    if (openForMs === 0) return;
    const record = await this.#send('trip', [Math.ceil(Math.min(openForMs, LONGEST_SHARED_MS)), openings]);
    if (record !== undefined) this.#untold = false;
  }

  async #close(whateverOthersKnow: '0' | '1'): Promise<void> {
    this.#leaseUntil = 0;
    this.#untold = false;
    this.#turn += 1;
    await this.#send('close', [whateverOthersKnow]);
  }

  #ask(leaseMs: number, ahead: boolean): void {
    this.#mayHold = true;
    const asked = this.#lease(leaseMs, ahead).finally(() => this.#asked.delete(asked));
    this.#asked.add(asked);
  }

  async #lease(leaseMs: number, ahead: boolean): Promise<void> {
    const sentAt = this.#clock.now();
    const ms = Math.ceil(Math.min(leaseMs, LONGEST_SHARED_MS));
    const record = await this.#send('lease', [ms, this.#member.openings]);
    if (record?.state !== 'open' || record.holder !== this.#token || record.leaseForMs === 0) return;
    // From when it was asked for: it is over here no later than it is there.
    this.#leaseUntil = sentAt + ms;
    this.#othersUntil = 0;
    this.#leaseUnused = ahead;
  }

  /** Tells Redis, and hears what it holds then, unless something has happened here meanwhile. */
  async #send(verb: Verb, args: (string | number)[]): Promise<CircuitRecord | undefined> {
    this.#turn += 1;
    const turn = this.#turn;
    const id = newId();
    const answer = await this.#link.send(verb, [this.name, this.#known, id, this.#token, ...args]);
    const record = parseRecords(answer).get(this.name);
    if (record === undefined && answer !== undefined && verb !== 'release') this.#link.distrust();
    if (record === undefined || turn !== this.#turn) return undefined;
    // A sync that is under way has not seen this.
    this.#turn += 1;
    if (record.id === id) this.#known = id;
    this.#hear(record);
    return record;
  }

  #hear(record: CircuitRecord | undefined): void {
    if (record === undefined) return;
    const now = this.#clock.now();
    const byOthers = record.holder !== this.#token && record.leaseForMs > 0;
    this.#othersUntil = byOthers ? now + record.leaseForMs : 0;
    if (record.id === this.#known) return;
    this.#known = record.id;
    this.#leaseUntil = 0;
    if (record.state === 'closed') {
      // What was seen here while Redis was away is the newer.
      if (!this.#untold) this.#member.closedElsewhere();
    } else this.#member.openedElsewhere(record.openForMs, record.openings);
  }
}

/** 96 random bits; letters and digits only, as the scripts expect. */
function newId(): string {
  return randomBytes(12).toString('hex');
}
