/** What an issue wants of a measured number. */
export interface Goal {
  what: string;
  measured: number;
  atMost?: number;
  atLeast?: number;
}

/** Each goal beside what was measured. */
export function printGoals(goals: readonly Goal[]): void {
  console.log('\ngoal | measured');
  for (const { what, measured, atMost, atLeast } of goals) {
    const met = (atMost === undefined || measured <= atMost) && (atLeast === undefined || measured >= atLeast);
    const goal = atMost === undefined ? `at least ${atLeast}` : `at most ${atMost}`;
    console.log(`${met ? 'met   ' : 'MISSED'} ${what}: ${goal} | ${measured.toFixed(2)}`);
  }
}
