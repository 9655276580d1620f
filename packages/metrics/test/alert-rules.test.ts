import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Metrics, type ObservableKind } from '@x/metrics';
import { expect, test } from 'vitest';
import { parseExposition } from './exposition.ts';
import { exampleStats } from './stats.ts';

const rules = readFileSync(join(import.meta.dirname, '../dashboards/alerts.yml'), 'utf8');

test('every metric and label that the alert rules use exists', async () => {
  const metrics = new Metrics();
  for (const kind of Object.keys(exampleStats) as ObservableKind[])
    metrics.observe(kind, 'x', { stats: () => exampleStats[kind] } as never);
  metrics.instrumentTool('t', () => ({}));
  const parsed = parseExposition(await metrics.registry.metrics());
  const used = new Set(
    rules.match(/\b[a-z]+(_[a-z0-9]+){1,}_(total|count|bucket|state|waiting|tasks)\b|\bbreaker_state\b/g),
  );
  expect(used.size).toBeGreaterThan(10);
  for (const name of used) expect(parsed.has(name.replace(/_(count|bucket)$/, '')), name).toBe(true);
  const selectors = rules.match(/[a-z_]+\{[a-z_]+[=!]/g) ?? [];
  expect(selectors.length).toBeGreaterThan(3);
  for (const selector of selectors) {
    const [, name = '', label] = /^([a-z_]+)\{([a-z_]+)/.exec(selector) ?? [];
    const family = parsed.get(name.replace(/_(count|bucket)$/, ''));
    for (const sample of family?.samples.keys() ?? []) {
      if (!sample.startsWith('metrics_')) expect(sample, selector).toContain(`${label}="`);
    }
  }
});
