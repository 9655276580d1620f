import { availableParallelism, loadavg, totalmem } from 'node:os';
import { TOOLS } from './calls.ts';
import { GROWTH, MORE_FILES } from './final-checks.ts';
import { CALLERS, RECOVERY_LIMIT_MS, SERVER_SETTINGS, type SoakResult, THINK_MS } from './soak.ts';

/** The result as a page of Markdown. Says nothing that would tell one machine from another of its kind. */
export function report({ seconds, holdMs, recorder, faults, memory, final, versions }: SoakResult): string {
  const { violations } = recorder;
  const calls = [...recorder.tools.values()].reduce(
    (sum, { success, failed, shed, broken }) => sum + success + failed + shed + broken,
    0,
  );
  const { acknowledged, unknown, written } = final.assignments;
  return `# Soak of the demo server

${new Date().toISOString().slice(0, 10)}: ${calls} tool calls and ${faults.reduce((sum, { rounds }) => sum + rounds, 0)} faults in ${seconds.toFixed(0)} s. \
${violations.length === 0 ? '**Every invariant held.**' : `**${violations.length} invariants broken**, see below.`}

Made by \`pnpm soak\` (\`apps/demo-server/src/soak\`).
Machine: ${availableParallelism()} cores, ${(totalmem() / 2 ** 30).toFixed(0)} GiB memory, ${process.platform} ${process.arch}, load average at the end ${loadavg()[0]?.toFixed(1)} \
(the server, both databases, the upstream API and the callers share it).
Node ${process.versions.node}, PostgreSQL ${versions.postgres}, ${versions.redis}.
Server: \`${SERVER_SETTINGS.join(' ')}\`, else defaults. Load: ${CALLERS} callers that think ${THINK_MS} ms between calls; faults last ${holdMs} ms each.

## Invariants

${
  violations.length === 0
    ? ''
    : `${table(
        ['broken', 'first at', 'during', 'times'],
        violations.map(({ what, atSeconds, phase, times }) => [
          withoutPaths(what),
          `${atSeconds.toFixed(1)} s`,
          phase,
          times,
        ]),
      )}\n`
}
${table(
  ['what must hold', 'measured'],
  [
    ['the server never ends, and stops in order afterwards', 'see above if not'],
    [
      'answers are 200, 503 or 429 (4xx to garbage); failures say when to try again or what to do; no internals; no log entry at level error',
      'each answer and each entry',
    ],
    ['a fault makes only the tools fail that depend on what is broken', 'each call'],
    [
      `every tool works ${RECOVERY_LIMIT_MS / 1_000} s after a fault at the latest`,
      `${Math.max(...faults.map((fault) => fault.slowestRecoveryMs)).toFixed(0)} ms at the slowest`,
    ],
    ['afterwards nothing is in flight or queued, in any limiter or pool', 'at rest'],
    ['PostgreSQL connections are 10 to 20', final.databaseConnections],
    [`at most ${MORE_FILES} more open files than at the start`, `${final.filesAtStart}, then ${final.filesAtEnd}`],
    [
      `heap: last quarter at most ${GROWTH.heapBytes.ratio} times the first + ${GROWTH.heapBytes.bytes / 1e6} MB (medians of 10 s minima)`,
      trend(memory.quarters('heapBytes')),
    ],
    [`resident memory: likewise, + ${GROWTH.rssBytes.bytes / 1e6} MB`, trend(memory.quarters('rssBytes'))],
    [
      'assignments: what was acknowledged is there under its id, what was refused is not, batches are whole',
      `${acknowledged} acknowledged, ${unknown} whose answer was lost or left open, ${written} written`,
    ],
  ],
)}

## Tools

Durations are of successes, as callers saw them, faults included.

${table(
  ['tool', 'successes', 'told failures', 'shed (503, 429)', 'p50', 'p99'],
  TOOLS.map((tool) => {
    const counts = recorder.tools.get(tool);
    const sorted = (counts?.durations ?? []).toSorted((a, b) => a - b);
    const percentile = (share: number) =>
      `${(sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN).toFixed(0)} ms`;
    return [
      `\`${tool}\``,
      counts?.success ?? 0,
      counts?.failed ?? 0,
      counts?.shed ?? 0,
      percentile(0.5),
      percentile(0.99),
    ];
  }),
)}

## Faults

Calls are those that began while the fault was on, while tools recovered, or in the calm of ${holdMs / 2} ms after that.

${table(
  ['fault', 'rounds', 'slowest recovery', 'last to recover', 'successes', 'told failures', 'shed'],
  faults.map(({ name, rounds, slowestRecoveryMs, last }) => {
    const counts = recorder.phases.get(name);
    return [
      name,
      rounds,
      `${slowestRecoveryMs.toFixed(0)} ms`,
      `\`${last}\``,
      counts?.success ?? 0,
      counts?.failed ?? 0,
      counts?.shed ?? 0,
    ];
  }),
)}
`;
}

/** Where things are on this machine is nobody's business. */
function withoutPaths(text: string): string {
  return text.replaceAll(/(?:file:\/\/)?\/[^\s"()]*\/(?=(?:apps|packages|node_modules)\/)/g, '');
}

function trend(quarters: { first: number; last: number } | undefined): string {
  if (quarters === undefined) return 'too short to tell';
  return `${(quarters.first / 1e6).toFixed(0)} MB, then ${(quarters.last / 1e6).toFixed(0)} MB`;
}

function table(head: string[], rows: (string | number)[][]): string {
  const line = (cells: (string | number)[]) =>
    `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
