import { classifyThrown, type Outcome, type Verdict } from './classify.ts';
import { systemClock } from './clock.ts';

/**
 * Judges a response, or an error, that has a `status` or `statusCode`: 5xx is a failure, other 4xx say nothing about the
 * dependency and are ignored. 429 and 503 with a `Retry-After` (in `headers`, or as `retryAfterMs`) open the circuit for that long.
 * An error may carry the response instead (`response`), as those of most HTTP clients do.
 * What has no status is judged as by default: returned is a success; thrown (network error, time-out) is a failure, aborts aside.
 */
export function classifyHttp(outcome: Outcome): Verdict {
  const answer = 'value' in outcome ? outcome.value : outcome.error;
  const response =
    'error' in outcome ? (outcome.error as { response?: unknown } | undefined | null)?.response : undefined;
  const status = statusOf(answer) ?? statusOf(response);
  if (status === undefined) return classifyThrown(outcome);
  if (status === 429 || status === 503) {
    const retryAfterMs = retryAfterOf(answer) ?? retryAfterOf(response);
    if (retryAfterMs !== undefined && retryAfterMs > 0) return { failure: true, retryAfterMs };
  }
  if (status >= 500) return 'failure';
  if (status >= 400) return 'ignore';
  return classifyThrown(outcome);
}

function statusOf(answer: unknown): number | undefined {
  if (typeof answer !== 'object' || answer === null) return undefined;
  const { status, statusCode } = answer as { status?: unknown; statusCode?: unknown };
  for (const candidate of [status, statusCode]) {
    if (Number.isInteger(candidate) && (candidate as number) >= 100 && (candidate as number) <= 599) {
      return candidate as number;
    }
  }
  return undefined;
}

/** RFC 9110, 5.6.7: as it is written now, and the two older ways, of which the last has no time zone. */
const HTTP_DATE = /^[A-Z][a-z]{2,8}(, .* GMT| [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4})$/;

// RFC 9110, 10.2.3: a number of seconds, or a date.
function retryAfterOf(answer: unknown): number | undefined {
  const { retryAfterMs, headers } = (answer ?? {}) as { retryAfterMs?: unknown; headers?: unknown };
  if (typeof retryAfterMs === 'number') return retryAfterMs;
  const text = header(headers, 'retry-after');
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text)) return Number(text) * 1_000;
  // Nothing else that `Date.parse` makes a date of, such as a number of seconds with a fraction.
  if (!HTTP_DATE.test(text)) return undefined;
  // Against the server's own clock where it says what that is: ours may differ.
  const date = Date.parse(text.endsWith(' GMT') ? text : `${text} GMT`);
  const now = Date.parse(header(headers, 'date') ?? '');
  if (Number.isNaN(date)) return undefined;
  return date - (Number.isNaN(now) ? (systemClock.wallNow?.() ?? 0) : now);
}

function header(headers: unknown, name: string): string | undefined {
  if (typeof headers !== 'object' || headers === null) return undefined;
  if (typeof (headers as Headers).get === 'function') return textOf((headers as Headers).get(name));
  for (const [key, value] of Object.entries(headers)) if (key.toLowerCase() === name) return textOf(value);
  return undefined;
}

// Some clients keep a number, or a list of all values of that name.
function textOf(value: unknown): string | undefined {
  const first = Array.isArray(value) ? value[0] : value;
  return typeof first === 'string' || typeof first === 'number' ? String(first).trim() : undefined;
}
