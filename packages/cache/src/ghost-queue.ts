/** Places in a bucket: enough that seldom does a key push out one that is younger than the queue is long. */
const WAYS = 4;
/** Spare places, since keys do not spread evenly over buckets. */
const SPARE = 1.25;

/**
 * The keys evicted last, as 32-bit fingerprints: one counts while fewer than `capacity` keys have come after it. It goes into one of
 * four places that it may be in, the oldest of them. Two keys may share a fingerprint, or push each other out; that costs a little hit
 * ratio, never a wrong answer. Ten bytes for each key.
 */
export class GhostQueue {
  readonly #capacity: number;
  readonly #buckets: number;
  #fingerprints: Uint32Array | undefined;
  /** When each came, as the count of keys that came. */
  #turns: Uint32Array = new Uint32Array(0);
  #turn = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#buckets = Math.ceil((capacity * SPARE) / WAYS);
  }

  add(key: string): void {
    if (this.#fingerprints === undefined) {
      this.#fingerprints = new Uint32Array(this.#buckets * WAYS);
      this.#turns = new Uint32Array(this.#buckets * WAYS);
    }
    const fingerprint = fingerprintOf(key);
    this.#turn = (this.#turn + 1) >>> 0;
    const place = this.#placeFor(fingerprint, this.#fingerprints);
    this.#fingerprints[place] = fingerprint;
    this.#turns[place] = this.#turn;
  }

  /** Whether the key was evicted lately; it is forgotten then. */
  take(key: string): boolean {
    if (this.#fingerprints === undefined) return false;
    const fingerprint = fingerprintOf(key);
    const first = this.#firstPlace(fingerprint);
    for (let place = first; place < first + WAYS; place++) {
      if (this.#fingerprints[place] !== fingerprint) continue;
      this.#fingerprints[place] = 0;
      return this.#age(place) < this.#capacity;
    }
    return false;
  }

  clear(): void {
    this.#fingerprints = undefined;
  }

  /** An empty place, or else the one that was filled longest ago. A key that is added again has been taken before. */
  #placeFor(fingerprint: number, fingerprints: Uint32Array): number {
    const first = this.#firstPlace(fingerprint);
    let oldest = first;
    for (let place = first; place < first + WAYS; place++) {
      if (fingerprints[oldest] === 0) continue;
      if (fingerprints[place] === 0 || this.#age(place) > this.#age(oldest)) oldest = place;
    }
    return oldest;
  }

  #firstPlace(fingerprint: number): number {
    return Math.floor((fingerprint / 2 ** 32) * this.#buckets) * WAYS;
  }

  #age(place: number): number {
    return (this.#turn - (this.#turns[place] as number)) >>> 0;
  }
}

/** FNV-1a with a final mix; 0 stands for an empty place. */
function fingerprintOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < key.length; index++) hash = Math.imul(hash ^ key.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  hash ^= hash >>> 16;
  return hash >>> 0 || 1;
}
