import { classifyHttp } from '@x/breaker/http';
import { expect, test, vi } from 'vitest';

// Headers that are a Map, or hold numbers and lists, made the classifier throw in place of the call's own result.

const DATE = 'Sun, 06 Nov 2044 08:49:37 GMT';
const of = (headers: unknown) => classifyHttp({ value: { status: 503, headers } });
const secondsOf = (text: string) => {
  const verdict = of({ 'retry-after': text, date: 'Sun, 06 Nov 2044 08:49:07 GMT' });
  return typeof verdict === 'object' ? (verdict.retryAfterMs ?? 0) / 1_000 : verdict;
};

test.each([
  new Map([['retry-after', 120]]),
  { get: () => ['120', '5'] },
  { 'Retry-After': 120 },
  { 'retry-after': ' 120 ' },
])('Retry-After is found in %o', (headers) => {
  expect(of(headers)).toEqual({ failure: true, retryAfterMs: 120_000 });
});

test.each([undefined, null, 'retry-after: 5', ['retry-after', '120'], { get: () => null }, { 'retry-after': {} }])(
  'headers %o ask for nothing',
  (headers) => expect(of(headers)).toBe('failure'),
);

test('all three forms of an HTTP date are read, against the clock of the server', () => {
  vi.useFakeTimers({ now: Date.UTC(2001, 1, 1) });
  try {
    for (const date of [DATE, 'Sunday, 06-Nov-44 08:49:37 GMT', 'Sun Nov  6 08:49:37 2044']) {
      expect([date, secondsOf(date)]).toEqual([date, 30]);
    }
  } finally {
    vi.useRealTimers();
  }
});

test.each(['-5', '1e3', '120.5', '0', '', 'soon', 'garbage GMT', '2044 GMT', 'Sun, 06 Nov 1994 08:49:37 GMT'])(
  'Retry-After %j is an ordinary failure',
  (text) => expect(secondsOf(text)).toBe('failure'),
);

test('a number without end is one: the breaker caps it', () => {
  expect(secondsOf('9'.repeat(400))).toBe(Number.POSITIVE_INFINITY);
});
