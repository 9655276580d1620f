import type { Exchange } from './exchange.ts';

/** What became of a tool call. */
export type Outcome =
  | { kind: 'success'; structured: Record<string, unknown> }
  /** A result with `isError` that tells a model what to do. */
  | { kind: 'failed'; code: string; text: string }
  /** 503 or 429 before the call was read. */
  | { kind: 'shed'; status: number }
  /** No answer came, or one that no caller should ever get. */
  | { kind: 'broken'; why: string };

/** Judges the answer to a tool call whose arguments were right. */
export function judge(exchange: Exchange): Outcome {
  const { status, body, retryAfter } = exchange;
  if (status === 0) return { kind: 'broken', why: `no answer: ${body}` };
  const broken = (why: string): Outcome => ({ kind: 'broken', why: `${why}: ${status} ${body.slice(0, 300)}` });
  if (leaksInternals(body)) return broken('an answer with internals in it');

  const message = parse(body);
  if (status === 503 || status === 429) {
    if (!(Number(retryAfter) >= 1)) return broken('a refusal without Retry-After');
    if (message?.error === undefined) return broken('a refusal without a JSON-RPC error');
    return { kind: 'shed', status };
  }
  if (status !== 200) return broken('an unexpected status');
  const result = message?.result;
  if (result === undefined) return broken('no result');
  if (result.isError !== true) return { kind: 'success', structured: result.structuredContent ?? {} };

  const text = (result.content ?? []).map((part) => part.text ?? '').join('\n');
  const code = result._meta?.['x/error']?.code;
  if (code === undefined) return broken('a failure without a code');
  if (!TELLS_WHAT_TO_DO.test(text)) return broken('a failure that does not say what to do');
  return { kind: 'failed', code, text };
}

/** Stack traces, and what the server says when it does not know what went wrong. */
export function leaksInternals(body: string): boolean {
  return /\\n\s+at \S|node_modules|ERR_INTERNAL|internal error/i.test(body);
}

/** When to try again, in seconds, or what to change. */
const TELLS_WHAT_TO_DO = /\b\d+ s(econds?)?\b|Check the id|Check whether|Mend them/;

interface Message {
  error?: unknown;
  result?: {
    isError?: boolean;
    content?: { text?: string }[];
    structuredContent?: Record<string, unknown>;
    _meta?: { 'x/error'?: { code?: string } };
  };
}

function parse(body: string): Message | undefined {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}
