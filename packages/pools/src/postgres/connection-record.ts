import { changesStatements } from './session-state.ts';

/** What a pool notes of one of its connections: how long and how often it has been used, and what may be left in its session. */
export class ConnectionRecord {
  uses = 0;
  /** How many of them before it is to be replaced. */
  maxUses: number = Number.POSITIVE_INFINITY;
  lastUsedAt = 0;
  takenAt = 0;
  /** When it is to be replaced, however well it works. */
  expiresAt: number = Number.POSITIVE_INFINITY;
  /** What makes it too old. */
  endsBy: 'lifetime' | 'maxUses' = 'lifetime';
  /** Whether a statement may have left something in the session, as far as its text and its answer tell. */
  sessionChanged = false;
  /** Whether one of those may have prepared statements by SQL, or dropped some of the client's. */
  statementsChanged = false;
  /** When the session was last as new. */
  newAt = 0;
  /** When the session is to be as new again: it has been used, and what a trigger or a view has done in it is not known. */
  resetAt: number = Number.POSITIVE_INFINITY;

  /** A statement may have left something in the session; `undefined`: one whose text is not known. */
  changedBy(text: string | undefined): void {
    this.sessionChanged = true;
    if (text === undefined || changesStatements(text)) this.statementsChanged = true;
  }

  /** The session is as new. */
  renewed(now: number): void {
    this.sessionChanged = false;
    this.statementsChanged = false;
    this.newAt = now;
    this.resetAt = Number.POSITIVE_INFINITY;
  }

  /** Whether it is to be replaced. */
  isSpent(now: number): boolean {
    if (this.uses >= this.maxUses && this.endsBy !== 'maxUses') {
      this.endsBy = 'maxUses';
      this.expiresAt = Math.min(this.expiresAt, now);
    }
    return this.expiresAt <= now;
  }
}
