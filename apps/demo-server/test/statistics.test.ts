import { expect, test } from 'vitest';
import { statistics } from '../src/tools/statistics.ts';

test('known numbers give known statistics', () => {
  expect(statistics([2, 4, 4, 4, 5, 5, 7, 9])).toEqual({
    count: 8,
    sum: 40,
    mean: 5,
    standard_deviation: 2,
    min: 2,
    max: 9,
    p50: 4,
    p95: 9,
    p99: 9,
  });
});

test('one number is every percentile of itself', () => {
  expect(statistics([3])).toMatchObject({ min: 3, max: 3, p50: 3, p99: 3, standard_deviation: 0 });
});

test('many small numbers beside a large one are not lost', () => {
  expect(statistics([1e16, 1, 1, 1, 1, -1e16]).sum).toBe(4);
});

test('a large offset does not spoil the deviation', () => {
  expect(statistics([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16]).standard_deviation).toBeCloseTo(Math.sqrt(22.5), 6);
});

test('the caller’s array is left as it was', () => {
  const numbers = [3, 1, 2];
  statistics(numbers);
  expect(numbers).toEqual([3, 1, 2]);
});
