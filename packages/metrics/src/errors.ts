/**
 * What an app may want to branch on; test by `code`:
 * - `ERR_ALREADY_OBSERVED`: something is observed under that kind and name already.
 * - `ERR_METRIC_EXISTS`: the registry has a metric of that name that is not ours.
 * - `ERR_METRICS_CLOSED`: `observe` or `instrumentTool` after `close()`.
 */
export class MetricsError extends Error {
  readonly code: 'ERR_ALREADY_OBSERVED' | 'ERR_METRIC_EXISTS' | 'ERR_METRICS_CLOSED';

  constructor(code: MetricsError['code'], message: string, options?: ErrorOptions) {
    super(`@x/metrics: ${message}`, options);
    this.name = 'MetricsError';
    this.code = code;
  }
}
