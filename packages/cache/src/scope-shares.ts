import { grown, SlotLinks, SlotQueue } from './slot-queue.ts';

/** What one holder has in memory. */
interface Holding {
  readonly queue: SlotQueue;
  bytes: number;
}

export interface ScopeShareLimits {
  /** Entries that one holder may have where others want the room. */
  entries: number;
  /** Bytes likewise, or Infinity. */
  bytes: number;
}

/**
 * Keeps one holder (a tenant, a user) from pushing all others out of memory: while there is room it may take it, but when somebody must
 * leave, those leave first who belong to a holder with more than its share, the least recently used of it first.
 */
export class ScopeShares {
  readonly #limits: ScopeShareLimits;
  readonly #holderOf: (key: string) => string | undefined;
  readonly #links = new SlotLinks();
  readonly #holdings = new Map<string, Holding>();
  readonly #over = new Set<Holding>();
  #bySlot: (Holding | undefined)[] = [];
  #bytes: Float64Array = new Float64Array(0);

  constructor(limits: ScopeShareLimits, holderOf: (key: string) => string | undefined) {
    this.#limits = limits;
    this.#holderOf = holderOf;
  }

  /** To be followed by `resized`. */
  added(slot: number, key: string): void {
    const holder = this.#holderOf(key);
    if (holder === undefined) return;
    let holding = this.#holdings.get(holder);
    if (holding === undefined) {
      holding = { queue: new SlotQueue(this.#links), bytes: 0 };
      this.#holdings.set(holder, holding);
    }
    this.#bySlot[slot] = holding;
    this.#bytes[slot] = 0;
    holding.queue.pushFront(slot);
  }

  resized(slot: number, bytes: number): void {
    const holding = this.#bySlot[slot];
    if (holding === undefined) return;
    holding.bytes += bytes - (this.#bytes[slot] as number);
    this.#bytes[slot] = bytes;
    this.#weigh(holding);
  }

  touched(slot: number): void {
    this.#bySlot[slot]?.queue.moveToFront(slot);
  }

  removed(slot: number, key: string): void {
    const holding = this.#bySlot[slot];
    if (holding === undefined) return;
    this.#bySlot[slot] = undefined;
    holding.queue.remove(slot);
    holding.bytes -= this.#bytes[slot] as number;
    this.#weigh(holding);
    if (holding.queue.size === 0) this.#holdings.delete(this.#holderOf(key) as string);
  }

  /** Who must leave first for an entry under `key` of so many bytes, or undefined where nobody has more than a share. */
  victim(key: string, bytes: number): number | undefined {
    const own = this.#holdings.get(this.#holderOf(key) ?? '');
    // With the newcomer it would be over.
    if (own !== undefined && (own.queue.size >= this.#limits.entries || own.bytes + bytes > this.#limits.bytes)) {
      return own.queue.back;
    }
    const [greedy] = this.#over;
    return greedy?.queue.back;
  }

  grow(slots: number): void {
    this.#links.grow(slots);
    this.#bytes = grown(this.#bytes, slots);
  }

  clear(): void {
    this.#holdings.clear();
    this.#over.clear();
    this.#bySlot = [];
  }

  #weigh(holding: Holding): void {
    const over = holding.queue.size > this.#limits.entries || holding.bytes > this.#limits.bytes;
    if (over) this.#over.add(holding);
    else this.#over.delete(holding);
  }
}
