import { readdirSync } from 'node:fs';
import type { HttpClient } from './exchange.ts';

/** What the server says of itself on /metrics. */
export class Vitals {
  readonly #text: string;

  constructor(exposition: string) {
    this.#text = exposition;
  }

  static async of(http: HttpClient): Promise<Vitals | undefined> {
    const answer = await http.get('/metrics');
    return answer.status === 200 ? new Vitals(answer.body) : undefined;
  }

  /** Series of a metric that are not 0, whole lines. */
  nonZero(name: string): string[] {
    return this.#lines(name).filter((line) => !line.endsWith(' 0'));
  }

  value(name: string): number {
    const [line] = this.#lines(name);
    return line === undefined ? Number.NaN : Number(line.slice(line.lastIndexOf(' ')));
  }

  #lines(name: string): string[] {
    return this.#text.split('\n').filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
  }
}

/** Open file descriptors of a process; NaN where there is no /proc. */
export function openFiles(pid: number | undefined): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return Number.NaN;
  }
}

interface Sample {
  seconds: number;
  heapBytes: number;
  rssBytes: number;
}

/** How memory went, seen through minima: what is left when garbage has just been collected. */
export class MemoryTrend {
  readonly #samples: Sample[] = [];

  add(vitals: Vitals, seconds: number): void {
    const heapBytes = vitals.value('nodejs_heap_size_used_bytes');
    this.#samples.push({ seconds, heapBytes, rssBytes: vitals.value('process_resident_memory_bytes') });
  }

  /** Medians of the minima of windows of 10 s, over the first and the last quarter; undefined where that is too short. */
  quarters(field: 'heapBytes' | 'rssBytes'): { first: number; last: number } | undefined {
    const end = this.#samples.at(-1)?.seconds ?? 0;
    const first = this.#median(field, 0, end / 4);
    const last = this.#median(field, end * 0.75, end);
    return first === undefined || last === undefined ? undefined : { first, last };
  }

  #median(field: 'heapBytes' | 'rssBytes', from: number, to: number): number | undefined {
    const minima = new Map<number, number>();
    for (const sample of this.#samples) {
      if (sample.seconds < from || sample.seconds > to) continue;
      const window = Math.floor(sample.seconds / WINDOW_S);
      minima.set(window, Math.min(sample[field], minima.get(window) ?? Number.POSITIVE_INFINITY));
    }
    if (minima.size < MIN_WINDOWS) return undefined;
    return [...minima.values()].sort((a, b) => a - b)[Math.floor(minima.size / 2)];
  }
}

const WINDOW_S = 10;
const MIN_WINDOWS = 3;
