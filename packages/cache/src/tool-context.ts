/** Who called, as both SDKs say it. */
export interface AuthInfo {
  token?: string | undefined;
  clientId?: string | undefined;
  scopes?: readonly string[] | undefined;
  extra?: Readonly<Record<string, unknown>> | undefined;
}

/** What this package reads of a tool's context: that of `@modelcontextprotocol/sdk` 1.x, or that of `@modelcontextprotocol/server` 2.x. */
export interface ToolContext {
  signal?: AbortSignal | undefined;
  authInfo?: AuthInfo | undefined;
  taskId?: unknown;
  mcpReq?:
    | {
        signal?: AbortSignal | undefined;
        inputResponses?: unknown;
        droppedInputResponseKeys?: readonly string[] | undefined;
        requestState?: (() => unknown) | undefined;
      }
    | undefined;
  http?: { authInfo?: AuthInfo | undefined } | undefined;
}

export function signalOf(context: ToolContext): AbortSignal | undefined {
  return context.mcpReq?.signal ?? context.signal;
}

/** Where a context has both, what belongs to its own SDK counts. */
export function authInfoOf(context: ToolContext): AuthInfo | undefined {
  return context.mcpReq ? (context.http?.authInfo ?? context.authInfo) : (context.authInfo ?? context.http?.authInfo);
}

/** Whether the call is one leg of a conversation with its caller, whose answer can be nobody else's. */
export function isConversation(context: ToolContext): boolean {
  const { mcpReq } = context;
  const responses = mcpReq?.inputResponses;
  const answers = typeof responses === 'object' && responses !== null && Object.keys(responses).length > 0;
  const resumes = typeof mcpReq?.requestState === 'function' && mcpReq.requestState() !== undefined;
  const dropped = (mcpReq?.droppedInputResponseKeys?.length ?? 0) > 0;
  return answers || dropped || resumes || context.taskId !== undefined;
}

/**
 * The context of a load that callers share: the shared signal, and who they are only if they are all the same user. What speaks to
 * one caller is silent.
 */
export function sharedContext(context: ToolContext, signal: AbortSignal, sameUser: boolean): unknown {
  const authInfo = sameUser ? authInfoOf(context) : undefined;
  if (context.mcpReq === undefined) {
    return {
      signal,
      requestId: 'shared',
      ...(authInfo && { authInfo }),
      sendNotification: async () => {},
      sendRequest: refuse,
    };
  }
  return {
    mcpReq: { id: 'shared', method: 'tools/call', signal, notify: async () => {}, log: async () => {}, send: refuse },
    ...(authInfo && { http: { authInfo } }),
  };
}

async function refuse(): Promise<never> {
  throw new Error('@x/cache: a cached tool cannot ask its caller: its result is shared by many');
}
