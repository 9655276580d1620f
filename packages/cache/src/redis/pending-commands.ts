/** A command that is waited for. */
export interface PendingCommand {
  /** When it was sent; monotonic milliseconds. */
  readonly since: number;
  readonly reject: (error: unknown) => void;
  waitedFor: boolean;
  older: PendingCommand | undefined;
  newer: PendingCommand | undefined;
}

/** Commands in the order in which they were sent, linked to each other: a Set through which each goes would rebuild itself again and again. */
export class PendingCommands {
  #oldest: PendingCommand | undefined;
  #newest: PendingCommand | undefined;

  get oldest(): PendingCommand | undefined {
    return this.#oldest;
  }

  add(since: number, reject: (error: unknown) => void): PendingCommand {
    const older = this.#newest;
    const command: PendingCommand = { since, reject, waitedFor: true, older, newer: undefined };
    if (older === undefined) this.#oldest = command;
    else older.newer = command;
    this.#newest = command;
    return command;
  }

  /** Whether it was still waited for. */
  remove(command: PendingCommand): boolean {
    if (!command.waitedFor) return false;
    command.waitedFor = false;
    const { older, newer } = command;
    if (older === undefined) this.#oldest = newer;
    else older.newer = newer;
    if (newer === undefined) this.#newest = older;
    else newer.older = older;
    return true;
  }
}
