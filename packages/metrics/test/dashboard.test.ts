import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { expectShown, namesIn, shownLabels } from './promql.ts';

interface Panel {
  id: number;
  type: string;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  datasource?: { uid: string };
  targets?: { expr: string; legendFormat: string }[];
}

const folder = join(import.meta.dirname, '../dashboards');
const dashboard = JSON.parse(readFileSync(join(folder, 'mcp-server.json'), 'utf8')) as {
  panels: Panel[];
  templating: { list: { name: string; definition?: string }[] };
};
const rules = readFileSync(join(folder, 'alerts.yml'), 'utf8');
const panels = dashboard.panels.filter(({ type }) => type !== 'row');

let shown: Awaited<ReturnType<typeof shownLabels>>;
beforeAll(async () => {
  shown = await shownLabels();
});

test.each(panels.map(({ title, targets = [] }) => ({ title, targets })))(
  'every metric and label of the panel $title is shown',
  ({ targets }) => {
    expect(targets.length).toBeGreaterThan(0);
    for (const { expr, legendFormat } of targets) {
      expectShown(expr, shown);
      const grouping = namesIn(expr).get('');
      for (const [, label = ''] of legendFormat.matchAll(/\{\{(\w+)\}\}/g))
        expect(grouping?.has(label) || label === 'instance', `${legendFormat} of ${expr}`).toBe(true);
    }
  },
);

test('every metric and label of the variables is shown', () => {
  const queries = dashboard.templating.list.flatMap(({ definition }) => definition ?? []);
  expect(queries).toHaveLength(2);
  for (const query of queries) {
    const [, metric = '', label = ''] = /^label_values\((.+), (\w+)\)$/.exec(query) ?? [];
    expectShown(`sum by (${label}) (${metric})`, shown);
  }
});

test('every metric and label of the alert rules is shown', () => {
  const lines = rules.split('\n');
  const queries = lines.flatMap((line, index) => {
    const [, indent = '', expr = ''] = /^( +)expr: (.*)$/.exec(line) ?? [];
    if (expr !== '|') return expr === '' ? [] : [expr];
    const end = lines.findIndex((other, at) => at > index && !other.startsWith(`${indent}  `));
    return [lines.slice(index + 1, end).join(' ')];
  });
  expect(queries).toHaveLength(rules.match(/- alert:/g)?.length ?? 0);
  for (const query of queries) expectShown(query, shown);
});

test('the rows are there, every panel asks the chosen data source and instances, and no two overlap', () => {
  expect(dashboard.panels.filter(({ type }) => type === 'row').map(({ title }) => title)).toEqual([
    'Golden signals',
    'Tools',
    'Queue and shedding',
    'Cache',
    'Breakers',
    'Pools',
    'Runtime',
  ]);
  expect(dashboard.templating.list.map(({ name }) => name)).toEqual(['DS_PROMETHEUS', 'instance', 'tool_name']);
  for (const { title, datasource, targets = [] } of panels) {
    expect(datasource?.uid, title).toMatch(/^\$\{DS_PROMETHEUS\}$/);
    for (const { expr } of targets) expect(expr, title).toContain('instance=~"$instance"');
  }
  expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
  const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
    Array.from({ length: w * h }, (_, cell) => `${x + (cell % w)},${y + Math.floor(cell / w)}`),
  );
  expect(new Set(cells).size).toBe(cells.length);
});
