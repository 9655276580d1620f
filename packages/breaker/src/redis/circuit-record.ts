/** What Redis holds about one circuit, as of one answer. Times are what is left of them by the server's clock: no process's clock is asked. */
export interface CircuitRecord {
  state: 'open' | 'closed';
  /** Changes with every change that others should hear of. */
  id: string;
  /** Until an open circuit may be probed. Milliseconds, 0 when it may. */
  openForMs: number;
  openings: number;
  /** Who may probe, `-` for nobody, and for how long. */
  holder: string;
  leaseForMs: number;
}

/** Of each circuit, in the order in which the scripts send them. */
const FIELDS = 7;
/** Longer than any that the scripts send for a circuit that is in use. */
const LONGEST_MS = 2 * 86_400_000;

/** The records of an answer by their names. What is not what the scripts send is left out. */
export function parseRecords(answer: unknown): Map<string, CircuitRecord> {
  const records = new Map<string, CircuitRecord>();
  if (!Array.isArray(answer)) return records;
  for (let at = 0; at + FIELDS <= answer.length; at += FIELDS) {
    const fields: unknown[] = answer.slice(at, at + FIELDS);
    if (!fields.every((field) => typeof field === 'string' || typeof field === 'number')) continue;
    const [name, state, id, openForMs, openings, holder, leaseForMs] = fields.map(String);
    const record = {
      state: state === 'o' ? ('open' as const) : ('closed' as const),
      id: id ?? '',
      openForMs: Number(openForMs),
      openings: Number(openings),
      holder: holder ?? '',
      leaseForMs: Number(leaseForMs),
    };
    const times = [record.openForMs, record.leaseForMs];
    const sound = times.every((ms) => ms >= 0 && ms <= LONGEST_MS) && Number.isSafeInteger(record.openings);
    if (name !== undefined && sound && record.openings >= 0) records.set(name, record);
  }
  return records;
}
