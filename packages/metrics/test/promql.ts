import { Metrics, type ObservableKind } from '@x/metrics';
import { expect } from 'vitest';
import { parseExposition } from './exposition.ts';
import { exampleStats } from './stats.ts';

const keywords = new Set([
  'and',
  'or',
  'unless',
  'by',
  'without',
  'on',
  'ignoring',
  'group_left',
  'group_right',
  'bool',
]);

/** What Prometheus itself adds to every series, and the label of buckets. */
const givenLabels = ['instance', 'job', 'le'];

/** The names of the metrics in a query with the labels that are used of them; grouping labels are under ''. */
export function namesIn(query: string): Map<string, Set<string>> {
  const names = new Map<string, Set<string>>([['', new Set()]]);
  const add = (name: string, labels: Iterable<string>) =>
    names.set(name, new Set([...(names.get(name) ?? []), ...labels]));
  const rest = query
    .replace(/"(?:[^"\\]|\\.)*"/g, '""')
    .replace(/\[[^\]]*\]/g, '')
    .replace(/\b(?:by|on|ignoring|without)\s*\(([^)]*)\)/g, (_all, labels: string) => {
      add(
        '',
        labels.split(',').map((label) => label.trim()),
      );
      return ' ';
    });
  for (const [, name = '', selector = ''] of rest.matchAll(/\b([a-zA-Z_:][\w:]*)\b(?!\s*\()\s*(?:\{([^}]*)\})?/g)) {
    if (!keywords.has(name))
      add(
        name,
        [...selector.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label = '']) => label),
      );
  }
  return names;
}

/** The labels of every metric there is when everything is observed and every status has been seen. */
export async function shownLabels(): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
  const metrics = new Metrics({ maxSeries: 8 });
  for (const kind of Object.keys(exampleStats) as ObservableKind[])
    for (let index = 0; index < 9; index++)
      metrics.observe(kind, `x${index}`, { stats: () => exampleStats[kind] } as never);
  metrics.observe('queue', 'sick', {
    stats: () => {
      throw new Error('sick');
    },
  });
  metrics.instrumentTool('t', () => ({}))();
  metrics.instrumentTool('t', () => ({ isError: true, _meta: { 'x/error': { code: 'ERR_TIMEOUT' } } }))();
  const shown = new Map<string, Set<string>>();
  for (const [name, { type, samples }] of parseExposition(await metrics.registry.metrics())) {
    const labels = new Set(givenLabels);
    for (const sample of samples.keys())
      for (const [, label = ''] of sample.matchAll(/[{,](\w+)="/g)) labels.add(label);
    for (const suffix of type === 'histogram' ? ['_bucket', '_count', '_sum'] : ['']) shown.set(name + suffix, labels);
  }
  return shown;
}

/** Fails unless each metric in the query is shown with the labels used of it, and some metric has each grouping label. */
export function expectShown(query: string, shown: ReadonlyMap<string, ReadonlySet<string>>): void {
  const names = namesIn(query);
  const grouping = names.get('') ?? [];
  names.delete('');
  expect(names.size, query).toBeGreaterThan(0);
  for (const [name, labels] of names) {
    expect(shown.has(name), `${name} in ${query}`).toBe(true);
    for (const label of [...labels, ...grouping]) expect(shown.get(name)?.has(label), `${name}{${label}}`).toBe(true);
  }
}
