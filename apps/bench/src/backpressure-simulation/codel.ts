import type { Policy } from './policies.ts';

/**
 * At most `limit` at once, and a queue under CoDel (RFC 8289) with its target of 5 ms and interval of 100 ms: once the wait of
 * what is taken out has been above the target for an interval, one is dropped, and then more and more often.
 */
export function coDel(limit: number): Policy {
  return ({ clock }) => {
    const queue: { since: number; start: () => void; drop: () => void }[] = [];
    let inFlight = 0;
    let firstAboveAt: number | undefined;
    let dropping = false;
    let dropNextAt = 0;
    let dropped = 0;

    const isToDrop = (since: number): boolean => {
      const now = clock.now();
      if (now - since < targetMs || queue.length === 0) {
        firstAboveAt = undefined;
        return false;
      }
      firstAboveAt ??= now + intervalMs;
      return now >= firstAboveAt;
    };
    const take = (): void => {
      while (inFlight < limit) {
        const next = queue.shift();
        if (next === undefined) return;
        const now = clock.now();
        const late = isToDrop(next.since);
        if (!late) dropping = false;
        else if (!dropping || now >= dropNextAt) {
          dropped = dropping || now - dropNextAt < intervalMs ? dropped + 1 : 1;
          dropping = true;
          dropNextAt = now + intervalMs / Math.sqrt(dropped);
          next.drop();
          continue;
        }
        inFlight++;
        next.start();
      }
    };
    return (work) =>
      new Promise<void>((resolve, reject) => {
        const end = (): void => {
          inFlight--;
          resolve();
          take();
        };
        queue.push({
          since: clock.now(),
          start: () => void work().then(end),
          drop: () => reject(new Error('dropped')),
        });
        take();
      });
  };
}

const targetMs = 5;
const intervalMs = 100;
