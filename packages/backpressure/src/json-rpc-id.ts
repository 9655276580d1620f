import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';

export type JsonRpcId = string | number | null;

/**
 * Hands on the id of the JSON-RPC request that `request` carries, where that costs next to nothing: from a body that was parsed
 * already, or from a small one that comes with the headers, as most clients send it. Else null, and nothing is waited for.
 */
export function withJsonRpcId(request: IncomingMessage, then: (id: JsonRpcId) => void): void {
  const { body } = request as { body?: unknown };
  const length = Number(request.headers['content-length'] ?? 0);
  if (body !== undefined) {
    then(idOf(body));
  } else if (!(length > 0 && length <= maxBytes) || request.readableEnded || request.destroyed) {
    then(null);
  } else {
    const chunks: Buffer[] = [];
    const collect = (chunk: Buffer): void => void chunks.push(chunk);
    request.on('data', collect);
    request.on('error', ignore);
    // What came in one piece with the headers is here by then.
    setImmediate(() => {
      request.off('data', collect);
      const whole = Buffer.concat(chunks);
      then(whole.length === length ? idOf(parsed(whole)) : null);
    });
  }
}

/** A larger one is not worth parsing for a refusal. */
const maxBytes = 4_096;

/** From a body that was parsed already it may be of any length, and would be sent back for nothing. */
const maxIdLength = 1_024;

function ignore(): void {}

function parsed(bytes: Buffer): unknown {
  // Read as text, what is none would become other characters.
  if (!isUtf8(bytes)) return undefined;
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}

/** The id as it was sent, or none: one of another request would be worse. */
function idOf(message: unknown): JsonRpcId {
  const { id, result, error } = (message ?? {}) as Record<string, unknown>;
  // A client's own answer has the id of a request of ours, which may be that of one of its requests too.
  if (result !== undefined || error !== undefined) return null;
  if (typeof id === 'string') return id.length <= maxIdLength ? id : null;
  // A number beyond this was rounded when it was parsed.
  return typeof id === 'number' && Math.abs(id) <= Number.MAX_SAFE_INTEGER ? id : null;
}
