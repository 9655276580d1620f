/**
 * Through which the breakers of one dependency in several processes act as one; `@x/breaker/redis` has one over Redis.
 * Nothing in it waits: what a breaker asks is answered from what is known by now, and what it tells is sent on nobody's time.
 */
export interface SharedState {
  /** Called once by each breaker that is given this, with itself as the member. Breakers of the same name are one circuit. */
  join(member: SharedMember): SharedCircuit;
}

/** What a shared state sees of a breaker and does to it. While the breaker is forced, what others say is dropped. */
export interface SharedMember {
  readonly name: string;
  /** How long an open circuit stays open. Milliseconds; 0 when it is not open, or may be probed. */
  readonly openForMs: number;
  /** How often the circuit has opened since it last recovered. */
  readonly openings: number;
  /** Another process's circuit opened, and may be probed so many milliseconds from now. */
  openedElsewhere(forMs: number, openings: number): void;
  /** Another process's probes passed, or it was reset. */
  closedElsewhere(): void;
}

/** What a breaker tells its shared state and asks of it. */
export interface SharedCircuit {
  /** The circuit opened here. */
  opened(): void;
  /** The circuit closed here, because its probes passed. */
  closed(): void;
  /** The circuit was reset here: whatever others have seen, it is closed. */
  reset(): void;
  /** Whether this process may send a probe now, for `leaseMs`. Where others have to be asked first the answer is `false`, and a later call finds the right there. */
  mayProbe(leaseMs: number): boolean;
  /** A probe goes out, and has `leaseMs`. */
  probing(leaseMs: number): void;
}
