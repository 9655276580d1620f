import type { Clock } from './clock.ts';
import { timerMs } from './timer-ms.ts';

/** Those who wait until nothing runs and nothing waits. */
export class IdleWaiters {
  #waiters: (() => void)[] = [];

  /** Whether there is anybody to tell. */
  get any(): boolean {
    return this.#waiters.length > 0;
  }

  wait(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** As `wait`, but not for longer than `timeoutMs`. */
  async waitAtMost(timeoutMs: number, clock: Clock): Promise<void> {
    let timer: unknown;
    const over = new Promise<void>((resolve) => {
      timer = clock.setTimeout(resolve, timerMs(timeoutMs));
    });
    await Promise.race([this.wait(), over]);
    clock.clearTimeout(timer);
  }

  tell(): void {
    const told = this.#waiters;
    this.#waiters = [];
    for (const resolve of told) resolve();
  }
}
