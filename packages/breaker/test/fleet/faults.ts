import type { Fleet } from './fleet.ts';

/** A fault, and how it is lifted again. Whether the fleet can still agree through Redis meanwhile. */
export interface Fault {
  name: string;
  apart: boolean;
  strike(): Promise<() => Promise<void>>;
}

/** All that can go wrong between the processes, Redis and the dependency. `pick(n)` is a whole number below n. */
export function faultsOf(fleet: Fleet, pick: (below: number) => number): Fault[] {
  const proxy = () => fleet.proxies[pick(fleet.size)];
  const nothing = async () => {};
  return [
    {
      name: 'the dependency fails',
      apart: false,
      async strike() {
        fleet.dependency.health = 'failing';
        return nothing;
      },
    },
    {
      name: 'the dependency hangs',
      apart: false,
      async strike() {
        fleet.dependency.health = 'hanging';
        return nothing;
      },
    },
    {
      name: 'the dependency fails for one process',
      apart: false,
      async strike() {
        fleet.dependency.failsFor.add(pick(fleet.size));
        return nothing;
      },
    },
    {
      name: 'Redis hangs',
      apart: true,
      async strike() {
        await fleet.redis.pause();
        return () => fleet.redis.resume();
      },
    },
    {
      name: 'Redis is killed and comes back empty',
      apart: true,
      async strike() {
        await fleet.redis.kill();
        return () => fleet.redis.restart();
      },
    },
    {
      name: 'a process loses sight of Redis',
      apart: true,
      async strike() {
        const cut = proxy();
        if (cut !== undefined) cut.faults.blackHole = true;
        return async () => {
          if (cut === undefined) return;
          cut.faults.blackHole = false;
          // What was swallowed will never be answered.
          cut.resetAll();
        };
      },
    },
    {
      name: 'a process is 300 ms away from Redis',
      apart: true,
      async strike() {
        const slow = proxy();
        if (slow !== undefined) slow.faults.delayMs = 150;
        return async () => {
          if (slow !== undefined) slow.faults.delayMs = 0;
        };
      },
    },
    {
      name: 'all connections to Redis are reset',
      apart: true,
      async strike() {
        for (const one of fleet.proxies) one.resetAll();
        return nothing;
      },
    },
    {
      name: 'a process is killed and started again',
      apart: false,
      async strike() {
        const member = pick(fleet.size);
        await fleet.kill(member);
        return () => fleet.spawn(member);
      },
    },
    {
      name: 'a process gets no time',
      apart: true,
      async strike() {
        const member = pick(fleet.size);
        fleet.freeze(member, true);
        return async () => fleet.freeze(member, false);
      },
    },
  ];
}
