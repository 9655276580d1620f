export interface ParsedMetric {
  help: string;
  type: string;
  /** By the text before the value, labels in alphabetical order. */
  samples: Map<string, number>;
}

const nameRule = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const labelRule = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"(?:,|$)/y;

/** A strict parser of Prometheus' text format 0.0.4: throws where a lenient one would guess. */
export function parseExposition(text: string): Map<string, ParsedMetric> {
  if (!text.endsWith('\n')) throw new Error('the last line does not end');
  const metrics = new Map<string, ParsedMetric>();
  let current: { name: string; metric: ParsedMetric } | undefined;
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const comment = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line);
    if (comment) {
      const [, kind, name = '', rest = ''] = comment;
      if (!nameRule.test(name)) throw new Error(`bad name: ${line}`);
      if (kind === 'HELP') {
        if (metrics.has(name)) throw new Error(`twice: ${name}`);
        current = { name, metric: { help: rest, type: '', samples: new Map() } };
        metrics.set(name, current.metric);
      } else {
        if (current?.name !== name || current.metric.type !== '') throw new Error(`TYPE without its HELP: ${line}`);
        if (!['counter', 'gauge', 'histogram', 'summary', 'untyped'].includes(rest))
          throw new Error(`bad type: ${line}`);
        current.metric.type = rest;
      }
      continue;
    }
    const sample = /^([^\s{]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!sample || !current) throw new Error(`not a sample: ${line}`);
    const [, name = '', labels, value = ''] = sample;
    const suffix = name.slice(current.name.length);
    const suffixes = current.metric.type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['', '_sum', '_count'];
    if (!name.startsWith(current.name) || !suffixes.includes(suffix)) throw new Error(`${name} among ${current.name}`);
    if (!/^(NaN|[+-]Inf|[+-]?\d+(\.\d+)?(e[+-]?\d+)?)$/i.test(value)) throw new Error(`bad value: ${line}`);
    const key = `${name}{${parseLabels(labels ?? '', line)
      .sort()
      .join(',')}}`;
    if (current.metric.samples.has(key)) throw new Error(`twice: ${key}`);
    current.metric.samples.set(key, value === '+Inf' ? Infinity : Number(value));
  }
  return metrics;
}

function parseLabels(text: string, line: string): string[] {
  const labels: string[] = [];
  labelRule.lastIndex = 0;
  while (labelRule.lastIndex < text.length) {
    const match = labelRule.exec(text);
    if (!match) throw new Error(`bad labels: ${line}`);
    labels.push(`${match[1]}="${match[2]}"`);
  }
  if (new Set(labels.map((label) => label.split('=')[0])).size !== labels.length)
    throw new Error(`label twice: ${line}`);
  return labels;
}

/** All samples of all metrics, by the text before the value. */
export function samplesOf(text: string): Map<string, number> {
  return new Map([...parseExposition(text).values()].flatMap((metric) => [...metric.samples]));
}
