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

function ignore(): void {}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}

function idOf(message: unknown): JsonRpcId {
  const { id } = (message ?? {}) as { id?: unknown };
  return typeof id === 'string' || typeof id === 'number' ? id : null;
}
