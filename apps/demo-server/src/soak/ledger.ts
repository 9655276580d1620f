import type { Client } from 'pg';
import type { Outcome } from './outcome.ts';

/** Refused before anything was done: none of these may be in the database. Of other failures nobody can know. */
const NOTHING_WAS_DONE = /^ERR_(CIRCUIT_OPEN|OVERLOADED|POOL_EXHAUSTED|INVALID_ITEMS)$/;

/** How many items each batch has. */
const BATCH_SIZE = 3;

/** What callers of `batch_create_assignments` were told, to be held against what is in the database. */
export class Ledger {
  readonly #run: string;
  #batches = 0;
  readonly #acknowledged = new Map<string, string>();
  readonly #refused = new Set<string>();
  #unknown = 0;

  constructor(run: string) {
    this.#run = run;
  }

  /** Names of the items of a batch that nobody else has. */
  batch(): { title(item: number): string; settle(outcome: Outcome): void } {
    const number = ++this.#batches;
    const titles: string[] = [];
    return {
      title: (item) => {
        const title = `${this.#run} ${number}.${item}`;
        titles[item] = title;
        return title;
      },
      settle: (outcome) => this.#settle(titles, outcome),
    };
  }

  #settle(titles: string[], outcome: Outcome): void {
    if (outcome.kind === 'success') {
      const ids = outcome.structured.ids as string[];
      for (const [item, title] of titles.entries()) this.#acknowledged.set(title, String(ids[item]));
    } else if (outcome.kind === 'shed' || (outcome.kind === 'failed' && NOTHING_WAS_DONE.test(outcome.code))) {
      for (const title of titles) this.#refused.add(title);
    } else this.#unknown += titles.length;
  }

  /** What is wrong in the database, in words; and the counts. */
  async compare(client: Client): Promise<{ wrong: string[]; acknowledged: number; unknown: number; written: number }> {
    const { rows } = await client.query<{ id: string; title: string }>(
      'SELECT id::text, title FROM mcp_demo.assignments WHERE starts_with(title, $1)',
      [`${this.#run} `],
    );
    const written = new Map(rows.map((row) => [row.title, row.id]));
    const sizes = new Map<string, number>();
    for (const { title } of rows) {
      const batch = title.slice(0, title.lastIndexOf('.'));
      sizes.set(batch, (sizes.get(batch) ?? 0) + 1);
    }
    const lost = [...this.#acknowledged].filter(([title, id]) => written.get(title) !== id);
    const forbidden = [...this.#refused].filter((title) => written.has(title));
    const parts = [...sizes].filter(([, size]) => size !== BATCH_SIZE);
    const surplus = rows.length - this.#acknowledged.size - this.#unknown;
    const wrong = [
      lost.length > 0 && `${lost.length} acknowledged assignments are not there under their id, e.g. ${lost[0]}`,
      forbidden.length > 0 && `${forbidden.length} refused assignments were written, e.g. ${forbidden[0]}`,
      parts.length > 0 && `${parts.length} batches were written in part or twice, e.g. ${parts[0]}`,
      surplus > 0 && `${surplus} assignments more than can be accounted for`,
    ].filter((line) => line !== false);
    return { wrong, acknowledged: this.#acknowledged.size, unknown: this.#unknown, written: rows.length };
  }
}
