/**
 * What kind of failure it was:
 * - `refused`: the server said it will not do this now: HTTP 503 or 429, a JSON-RPC error with one of these codes, or a
 *   tool result that says so in `_meta['x/error']` (circuit open, overloaded, rate limited, timed out)
 * - `tool`: any other tool result with `isError`
 * - `jsonrpc`: a JSON-RPC error
 * - `http`: any other HTTP status that is not 2xx
 * - `protocol`: an answer that is none: no message, another id, no result, more than 64 MiB
 * - `timeout`: no answer within `timeoutMs`
 * - `network`: no connection, or one that broke
 */
export type FailureClass = 'refused' | 'tool' | 'jsonrpc' | 'http' | 'protocol' | 'timeout' | 'network';

export const failureClasses: readonly FailureClass[] = [
  'refused',
  'tool',
  'jsonrpc',
  'http',
  'protocol',
  'timeout',
  'network',
];

export interface Failure {
  class: FailureClass;
  /** HTTP status, JSON-RPC code, code of the refusal or of the network error. */
  code: string;
  message: string;
}

/** What came back for a request. */
export interface Reply {
  status: number;
  /** The JSON-RPC message with our id from an event stream, or the body of any other answer, parsed if it is JSON. */
  message: unknown;
  /** The body where it is no JSON-RPC message with our id. */
  text: string;
}

/** undefined for a success. */
export function failureOf(reply: Reply, id: number): Failure | undefined {
  const { status, message, text } = reply;
  const error = isObject(message) && isObject(message.error) ? message.error : undefined;
  if (status < 200 || status > 299) {
    const refused = status === 503 || status === 429;
    const code = (refused && refusalCode(error)) || String(status);
    return failure(refused ? 'refused' : 'http', code, `HTTP ${status}: ${error ? said(error) : text}`);
  }
  if (!isObject(message))
    return failure('protocol', 'no_message', `HTTP ${status} without a JSON-RPC message: ${text}`);
  if (message.id !== id)
    return failure('protocol', 'wrong_id', `asked with id ${id}, got ${JSON.stringify(message.id)}: ${text}`);
  if (error !== undefined) {
    const refused = error.code === 503 || error.code === 429;
    return failure(refused ? 'refused' : 'jsonrpc', (refused && refusalCode(error)) || String(error.code), said(error));
  }
  if (!isObject(message.result)) return failure('protocol', 'no_result', `neither result nor error: ${text}`);
  return message.result.isError === true ? toolFailure(message.result) : undefined;
}

function toolFailure(result: JsonObject): Failure {
  const content = Array.isArray(result.content) ? result.content : [];
  const text = content.map((item) => (isObject(item) && typeof item.text === 'string' ? item.text : '')).join(' ');
  const details = isObject(result._meta) ? result._meta['x/error'] : undefined;
  const code = isObject(details) && typeof details.code === 'string' ? details.code : 'isError';
  return failure(refusals.has(code) ? 'refused' : 'tool', code, text);
}

/** What the wrappers of @x/breaker and @x/backpressure send; other codes are the tool's own. */
const refusals = new Set(['ERR_CIRCUIT_OPEN', 'ERR_OVERLOADED', 'ERR_TIMEOUT']);

/** Servers put the name of a refusal in `data.code` or `data.reason`, or a word for the status in `data.error`. */
function refusalCode(error: JsonObject | undefined): string | undefined {
  const data = isObject(error?.data) ? error.data : undefined;
  for (const name of [data?.code, data?.reason, data?.error]) if (typeof name === 'string' && name !== '') return name;
  return undefined;
}

/** What an error that a socket gave says, also where Node puts several into an AggregateError without a message. */
export function networkFailure(error: unknown): Failure {
  const { code, message, errors } = error as { code?: unknown; message?: unknown; errors?: unknown };
  const first = Array.isArray(errors) ? (errors[0] as { message?: unknown }) : undefined;
  return failure(
    'network',
    typeof code === 'string' ? code : 'unknown',
    String((message !== '' && message) || first?.message || code || error),
  );
}

export function failure(kind: FailureClass, code: string, message: string): Failure {
  return { class: kind, code: oneLine(code, 64), message: oneLine(message, 200) };
}

/** Servers may say anything: megabytes, or what a terminal takes for commands. */
function oneLine(text: string, longest: number): string {
  const line = text
    .slice(0, 10 * longest)
    .replace(/[\s\p{Cc}]+/gu, ' ')
    .trim();
  return line.length > longest ? `${line.slice(0, longest - 1)}…` : line;
}

function said(error: JsonObject): string {
  return typeof error.message === 'string' ? error.message : JSON.stringify(error);
}

type JsonObject = { readonly [key: string]: unknown };

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
