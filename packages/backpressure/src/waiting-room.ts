import type { Waiter } from './waiter.ts';

/** How important a call is: `critical` goes first and is shed last, `sheddable` the other way round. */
export type Priority = 'critical' | 'default' | 'sheddable';

export const priorities: readonly Priority[] = ['critical', 'default', 'sheddable'];

/**
 * After so many grants past a waiting lower level, that level gets one. It bounds the wait of unimportant work under
 * endless important work, and costs the latter less than one per cent.
 */
const maxPassedOver = 127;

/**
 * The same where nobody waits for long enough, since all must make place for more important work: the waits of several are added up.
 * Rarer, for that is where there is enough important work to fill the queue.
 */
const maxUnserved = 511;

/**
 * Those who wait, by priority; within a priority the callers (keys) take turns; within a caller the order is what the
 * limiter asks for. Entering, leaving from anywhere and choosing the next one each take constant time.
 */
export class WaitingRoom {
  size = 0;
  readonly #levels: readonly Level[] = priorities.map((_, rank) => new Level(rank));
  readonly #defaultLevel = this.#levels[1] as Level;

  enter(waiter: Waiter, priority: Priority | undefined, key: string | undefined): void {
    this.#level(priority).push(waiter, key);
    this.size++;
  }

  /**
   * Takes the next one out, or undefined if nobody waits. `newestFirst` is asked about the oldest of the caller whose turn it
   * is: whether the newest of that caller goes before it.
   */
  next(newestFirst: (oldest: Waiter) => boolean): Waiter | undefined {
    if (this.size === 0) return undefined;
    const level = this.#defaultLevel.size === this.size ? this.#defaultLevel : this.#chooseLevel();
    const waiter = level.takeTurn(newestFirst);
    if (waiter !== undefined) this.leave(waiter);
    return waiter;
  }

  /** All who came at a time of which `isLongAgo` says so. Looks at every caller, as `oldest` does: not for each of them. */
  arrived(isLongAgo: (arrivedAt: number) => boolean): Waiter[] {
    return this.#levels.flatMap((level) => level.arrived(isLongAgo));
  }

  /** The one who has waited longest. Looks at every caller: not for each call. */
  oldest(): Waiter | undefined {
    let oldest: Waiter | undefined;
    for (const level of this.#levels) {
      const own = level.oldest();
      if (own !== undefined && (oldest === undefined || own.arrivedAt < oldest.arrivedAt)) oldest = own;
    }
    return oldest;
  }

  /** Takes `waiter` out, wherever it stands; false if it is not here any more. */
  leave(waiter: Waiter): boolean {
    const lane = waiter.lane;
    if (lane === undefined) return false;
    lane.level.remove(waiter, lane);
    this.size--;
    return true;
  }

  /**
   * Takes out the one who makes place, in a full room, for a newcomer: the newest of the least important, if that is
   * less important than the newcomer; else the newest of the caller with most in the room, if the newcomer's own
   * caller has at least two fewer there.
   */
  makePlaceFor(priority: Priority | undefined, key: string | undefined): Waiter | undefined {
    const own = this.#level(priority);
    for (let rank = this.#levels.length - 1; rank > own.rank; rank--) {
      const victim = this.#levels[rank]?.longestLane()?.tail;
      if (victim !== undefined) {
        this.leave(victim);
        return victim;
      }
    }
    const longest = own.longestLane();
    if (longest?.tail === undefined || longest.size < (own.lane(key)?.size ?? 0) + 2) return undefined;
    const victim = longest.tail;
    this.leave(victim);
    return victim;
  }

  /**
   * Takes out the one who makes place for a newcomer where the newest go first: of the least important, if they are not more
   * important than the newcomer, the oldest of the caller with most there; the newcomer's own where its caller has as much.
   */
  makePlaceByAge(priority: Priority | undefined, key: string | undefined): Waiter | undefined {
    const own = this.#level(priority);
    for (let rank = this.#levels.length - 1; rank >= own.rank; rank--) {
      const level = this.#levels[rank];
      const longest = level?.longestLane();
      const ownLane = level === own ? own.lane(key) : undefined;
      const victim = ownLane !== undefined && ownLane.size === longest?.size ? ownLane.head : longest?.head;
      if (level === undefined || victim === undefined) continue;
      this.leave(victim);
      level.overflowing = true;
      return victim;
    }
    return undefined;
  }

  #level(priority: Priority | undefined): Level {
    if (priority === undefined || priority === 'default') return this.#defaultLevel;
    return this.#levels[priority === 'critical' ? 0 : 2] as Level;
  }

  #chooseLevel(): Level {
    let chosen: Level | undefined;
    for (const level of this.#levels) {
      if (level.size === 0) continue;
      if (chosen === undefined) chosen = level;
      else if (level.isDue) chosen = level;
    }
    const winner = chosen ?? this.#defaultLevel;
    for (const level of this.#levels) if (level.rank > winner.rank && level.size > 0) level.passOver();
    winner.served();
    return winner;
  }
}

/** The waiters of one caller in one level, in order of arrival; also a node in the ring of lanes that take turns. */
export class Lane {
  readonly key: string | undefined;
  readonly level: Level;
  size = 0;
  /** Grants under overload, of which now and then one is to go to the oldest. */
  grantsWhileStanding = 0;
  head: Waiter | undefined;
  tail: Waiter | undefined;
  next: Lane = this;
  previous: Lane = this;

  constructor(key: string | undefined, level: Level) {
    this.key = key;
    this.level = level;
  }
}

class Level {
  readonly rank: number;
  size = 0;
  /** Grants to more important levels since this one had its last, while somebody waited here. */
  #unserved = 0;
  /** Of these, those since nobody waited here. */
  #passedOver = 0;
  /** Since nobody waited here, one had to go for a newcomer: more wait than can be served in time. */
  overflowing = false;
  /** The lane whose turn it is. */
  #turn: Lane | undefined;
  /** Calls without a key are one caller; their lane is kept, the others come and go with their waiters. */
  readonly #unkeyed = new Lane(undefined, this);
  readonly #lanes = new Map<string, Lane>();

  constructor(rank: number) {
    this.rank = rank;
  }

  push(waiter: Waiter, key: string | undefined): void {
    const lane = key === undefined ? this.#unkeyed : this.#laneOf(key);
    if (lane.size === 0) this.#joinRing(lane);
    waiter.lane = lane;
    waiter.older = lane.tail;
    if (lane.tail === undefined) lane.head = waiter;
    else lane.tail.newer = waiter;
    lane.tail = waiter;
    lane.size++;
    if (this.size++ === 0) {
      this.#passedOver = 0;
      this.overflowing = false;
    }
  }

  /** Whether a grant is due here, though others are more important. */
  get isDue(): boolean {
    return this.#passedOver >= maxPassedOver || this.#unserved >= maxUnserved;
  }

  passOver(): void {
    this.#passedOver++;
    this.#unserved++;
  }

  served(): void {
    this.#passedOver = 0;
    this.#unserved = 0;
  }

  /** The newest of the caller whose turn comes last. */
  get last(): Waiter | undefined {
    return this.#turn?.previous.tail;
  }

  /** Who is next in the lane whose turn it is; the turn passes on. */
  takeTurn(newestFirst: (oldest: Waiter) => boolean): Waiter | undefined {
    const lane = this.#turn;
    if (lane?.head === undefined) return undefined;
    const next = newestFirst(lane.head) ? lane.tail : lane.head;
    this.#turn = lane.next;
    return next;
  }

  arrived(isLongAgo: (arrivedAt: number) => boolean): Waiter[] {
    const found: Waiter[] = [];
    for (const lane of [this.#unkeyed, ...this.#lanes.values()]) {
      for (let waiter = lane.head; waiter !== undefined && isLongAgo(waiter.arrivedAt); waiter = waiter.newer) {
        found.push(waiter);
      }
    }
    return found;
  }

  oldest(): Waiter | undefined {
    let oldest = this.#turn?.head;
    for (let lane = this.#turn?.next; lane !== undefined && lane !== this.#turn; lane = lane.next) {
      if (oldest !== undefined && lane.head !== undefined && lane.head.arrivedAt < oldest.arrivedAt) oldest = lane.head;
    }
    return oldest;
  }

  remove(waiter: Waiter, lane: Lane): void {
    if (waiter.older === undefined) lane.head = waiter.newer;
    else waiter.older.newer = waiter.newer;
    if (waiter.newer === undefined) lane.tail = waiter.older;
    else waiter.newer.older = waiter.older;
    waiter.lane = undefined;
    waiter.older = undefined;
    waiter.newer = undefined;
    this.size--;
    if (--lane.size === 0) this.#leaveRing(lane);
  }

  lane(key: string | undefined): Lane | undefined {
    return key === undefined ? this.#unkeyed : this.#lanes.get(key);
  }

  /** Looks at no more lanes than it must: where every caller has one waiter, at one. */
  longestLane(): Lane | undefined {
    let longest = this.#turn;
    let lanesLeft = this.#lanes.size + (this.#unkeyed.size > 0 ? 1 : 0);
    let waitersLeft = this.size;
    for (let lane = longest; lane !== undefined && longest !== undefined && lanesLeft > 0; lane = lane.next) {
      if (lane.size > longest.size) longest = lane;
      lanesLeft--;
      waitersLeft -= lane.size;
      // The others have at least one each.
      if (longest.size > waitersLeft - lanesLeft) break;
    }
    return longest;
  }

  #laneOf(key: string): Lane {
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = new Lane(key, this);
      this.#lanes.set(key, lane);
    }
    return lane;
  }

  /** A lane that was empty waits for a whole round: it joins behind all others. */
  #joinRing(lane: Lane): void {
    const turn = this.#turn;
    if (turn === undefined) {
      lane.next = lane;
      lane.previous = lane;
      this.#turn = lane;
      return;
    }
    lane.next = turn;
    lane.previous = turn.previous;
    turn.previous.next = lane;
    turn.previous = lane;
  }

  #leaveRing(lane: Lane): void {
    if (lane.next === lane) this.#turn = undefined;
    else {
      lane.previous.next = lane.next;
      lane.next.previous = lane.previous;
      if (this.#turn === lane) this.#turn = lane.next;
    }
    if (lane.key !== undefined) this.#lanes.delete(lane.key);
  }
}
