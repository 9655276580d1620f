/** Two counts over the last `windowMs`, in ten slices: how many, and how many of them of a kind. */
export class RollingCounts {
  readonly #sliceMs: number;
  readonly #all: number[] = new Array<number>(slices).fill(0);
  readonly #some: number[] = new Array<number>(slices).fill(0);
  #slice: number;
  #allSum = 0;
  #someSum = 0;

  constructor(windowMs: number, now: number) {
    this.#sliceMs = windowMs / slices;
    this.#slice = Math.floor(now / this.#sliceMs);
  }

  get all(): number {
    return this.#allSum;
  }

  get some(): number {
    return this.#someSum;
  }

  /** The number of the present slice. */
  get slice(): number {
    return this.#slice;
  }

  /** Forgets what is too old. To be called before the counts are read or added to. */
  moveTo(now: number): void {
    const slice = Math.floor(now / this.#sliceMs);
    const passed = Math.min(slice - this.#slice, slices);
    for (let n = 1; n <= passed; n++) {
      const at = position(slice - passed + n);
      this.#allSum -= this.#all[at] ?? 0;
      this.#someSum -= this.#some[at] ?? 0;
      this.#all[at] = 0;
      this.#some[at] = 0;
    }
    if (passed > 0) this.#slice = slice;
  }

  /** Returns where it was counted, for `takeBack`. */
  add(all: number, some: number): number {
    const at = position(this.#slice);
    this.#all[at] = (this.#all[at] ?? 0) + all;
    this.#some[at] = (this.#some[at] ?? 0) + some;
    this.#allSum += all;
    this.#someSum += some;
    return this.#slice;
  }

  /** As if one of `all` had not been counted there; what was forgotten since is not taken back twice. */
  takeBack(slice: number): void {
    if (this.#slice - slice >= slices) return;
    const at = position(slice);
    this.#all[at] = (this.#all[at] ?? 0) - 1;
    this.#allSum--;
  }
}

const slices = 10;

function position(slice: number): number {
  return ((slice % slices) + slices) % slices;
}
