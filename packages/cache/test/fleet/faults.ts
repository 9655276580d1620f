import type { Fleet } from './fleet.ts';

export interface Fault {
  name: string;
  /** Resolves with how it is lifted again. */
  strike(): Promise<() => Promise<void>>;
}

/** All that can go wrong between processes and Redis. `pick(n)` is a whole number below n; `live` is what a new member is to do. */
export function faultsOf(fleet: Fleet, pick: (below: number) => number, live: (member: number) => void): Fault[] {
  const proxy = () => fleet.proxies[pick(fleet.size)] as Fleet['proxies'][number];
  const nothing = async () => {};
  return [
    {
      name: 'Redis is paused (SIGSTOP)',
      async strike() {
        await fleet.redis.pause();
        return () => fleet.redis.resume();
      },
    },
    {
      name: 'Redis is killed and comes back empty',
      async strike() {
        await fleet.redis.kill();
        return () => fleet.redis.restart();
      },
    },
    {
      name: 'Redis is flushed',
      async strike() {
        await fleet.outside((redis) => redis.flushall());
        return nothing;
      },
    },
    {
      name: 'all connections on which changes are heard are killed',
      async strike() {
        await fleet.outside((redis) => redis.client('KILL', 'TYPE', 'PUBSUB'));
        return nothing;
      },
    },
    {
      name: 'all other connections are killed',
      async strike() {
        await fleet.outside((redis) => redis.client('KILL', 'TYPE', 'NORMAL', 'SKIPME', 'YES'));
        return nothing;
      },
    },
    {
      name: 'a process loses sight of Redis',
      async strike() {
        const one = proxy();
        one.faults.blackHole = true;
        return async () => {
          one.faults.blackHole = false;
          // TCP does not go on behind bytes that it has lost.
          one.resetAll();
        };
      },
    },
    {
      name: 'a process’s connections are reset, and no new ones made',
      async strike() {
        const one = proxy();
        one.faults.refuse = true;
        one.resetAll();
        return async () => {
          one.faults.refuse = false;
        };
      },
    },
    {
      name: 'a process is up to 150 ms away from Redis',
      async strike() {
        const { faults } = proxy();
        faults.delayMs = pick(75);
        return async () => {
          faults.delayMs = 0;
        };
      },
    },
    {
      name: 'a process gets no time (SIGSTOP)',
      async strike() {
        const member = pick(fleet.size);
        fleet.freeze(member, true);
        return async () => fleet.freeze(member, false);
      },
    },
    {
      name: 'a process is killed and started again',
      async strike() {
        const member = pick(fleet.size);
        await fleet.kill(member);
        return async () => {
          await fleet.spawn(member);
          live(member);
        };
      },
    },
  ];
}
