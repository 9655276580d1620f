import { parser } from '@prometheus-io/lezer-promql';
import { Metrics, type ObservableKind } from '@x/metrics';
import { expect } from 'vitest';
import { parseExposition } from './exposition.ts';
import { exampleStats } from './stats.ts';

const promql = parser.configure({ strict: true });

/** What Prometheus itself adds to every series, and the label of buckets. */
const givenLabels = ['instance', 'job', 'le'];

/** The metrics in a query with the labels that are used of each; labels to group by are under ''. Throws for bad syntax. */
export function namesIn(query: string): Map<string, Set<string>> {
  const text = query.replaceAll('$__rate_interval', '5m');
  const names = new Map([['', new Set<string>()]]);
  let metric = '';
  promql.parse(text).iterate({
    enter({ name, node, from, to }) {
      if (name === 'VectorSelector') {
        const identifier = node.getChild('Identifier');
        metric = text.slice(identifier?.from, identifier?.to);
        if (!names.has(metric)) names.set(metric, new Set());
      } else if (name === 'LabelName') {
        names.get(node.parent?.name === 'GroupingLabels' ? '' : metric)?.add(text.slice(from, to));
      }
    },
  });
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
