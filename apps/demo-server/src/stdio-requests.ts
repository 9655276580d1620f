import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import type { RequestId } from '@modelcontextprotocol/sdk/types.js';

/**
 * Watches a connected transport. The function that it returns resolves when every request that was received before its call
 * has been answered, or cancelled by the client: a client may close its end right after its last request.
 */
export function watchRequests(transport: Transport): () => Promise<void> {
  const open = new Set<RequestId>();
  let onSettled = () => {};
  const settle = (id: unknown) => {
    open.delete(id as RequestId);
    onSettled();
  };

  const { onmessage } = transport;
  transport.onmessage = (message, extra) => {
    if ('method' in message && 'id' in message) open.add(message.id);
    if ('method' in message && message.method === 'notifications/cancelled') settle(message.params?.requestId);
    onmessage?.(message, extra);
  };
  const send = transport.send.bind(transport);
  transport.send = async (message, options) => {
    await send(message, options);
    if (!('method' in message)) settle(message.id);
  };

  return () => {
    const received = [...open];
    return new Promise((resolve) => {
      onSettled = () => {
        if (!received.some((id) => open.has(id))) resolve();
      };
      onSettled();
    });
  };
}
