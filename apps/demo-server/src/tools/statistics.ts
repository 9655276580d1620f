export interface Statistics {
  count: number;
  sum: number;
  mean: number;
  standard_deviation: number;
  min: number;
  max: number;
  p50: number;
  p95: number;
  p99: number;
}

/**
 * Statistics of at least one number. Sums use Neumaier's compensation (1974), so that adding many small numbers to a large
 * one loses nothing; the variance is summed around the mean, not as a difference of squares. Percentiles are by nearest rank.
 */
export function statistics(numbers: readonly number[]): Statistics {
  const sorted = Float64Array.from(numbers).sort();
  const count = sorted.length;
  const sum = compensatedSum(sorted, (value) => value);
  const mean = sum / count;
  const percentile = (share: number) => sorted[Math.max(0, Math.ceil(share * count) - 1)] ?? Number.NaN;
  return {
    count,
    sum,
    mean,
    standard_deviation: Math.sqrt(compensatedSum(sorted, (value) => (value - mean) ** 2) / count),
    min: percentile(0),
    max: percentile(1),
    p50: percentile(0.5),
    p95: percentile(0.95),
    p99: percentile(0.99),
  };
}

function compensatedSum(values: Float64Array, term: (value: number) => number): number {
  let sum = 0;
  let lost = 0;
  for (const value of values) {
    const next = term(value);
    const total = sum + next;
    lost += Math.abs(sum) >= Math.abs(next) ? sum - total + next : next - total + sum;
    sum = total;
  }
  return sum + lost;
}
