/** The part of both official SDKs' handler contexts that is read here: 1.x has it on top, 2.x under `mcpReq` and `http`. */
export interface ToolContext {
  readonly signal?: AbortSignal | undefined;
  readonly authInfo?: AuthInfo | undefined;
  readonly mcpReq?: { readonly signal?: AbortSignal | undefined } | undefined;
  readonly http?: { readonly authInfo?: AuthInfo | undefined } | undefined;
}

export interface AuthInfo {
  readonly token?: string | undefined;
  readonly clientId?: string | undefined;
  readonly scopes?: readonly string[] | undefined;
  readonly extra?: Readonly<Record<string, unknown>> | undefined;
}

/** A handler's last argument is its context, whether or not it takes arguments. */
export function contextOf(callArguments: readonly unknown[]): ToolContext {
  return (callArguments.at(-1) ?? {}) as ToolContext;
}

export function signalOf(context: ToolContext): AbortSignal | undefined {
  return context.mcpReq?.signal ?? context.signal;
}

/** What the token's verifier said of the caller. */
export function authInfoOf(context: ToolContext): AuthInfo | null | undefined {
  return context.mcpReq === undefined
    ? (context.authInfo ?? context.http?.authInfo)
    : (context.http?.authInfo ?? context.authInfo);
}

/** The same arguments, with `signal` in the context in place of its own. */
export function withSignal(callArguments: readonly unknown[], signal: AbortSignal): unknown[] {
  const context = contextOf(callArguments);
  if (signalOf(context) === signal) return [...callArguments];
  const replaced =
    context.mcpReq === undefined ? { ...context, signal } : { ...context, mcpReq: { ...context.mcpReq, signal } };
  return [...callArguments.slice(0, -1), replaced];
}
