import { createHmac, randomBytes } from 'node:crypto';

/** The part of both official SDKs' handler contexts that is read here: 1.x has it on top, 2.x under `mcpReq` and `http`. */
export interface ToolContext {
  readonly signal?: AbortSignal | undefined;
  readonly authInfo?: AuthInfo | undefined;
  readonly mcpReq?: { readonly signal?: AbortSignal | undefined } | undefined;
  readonly http?: { readonly authInfo?: AuthInfo | undefined } | undefined;
}

interface AuthInfo {
  readonly token?: string | undefined;
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

/** The same arguments, with `signal` in the context in place of its own. */
export function withSignal(callArguments: readonly unknown[], signal: AbortSignal): unknown[] {
  const context = contextOf(callArguments);
  if (signalOf(context) === signal) return [...callArguments];
  const replaced =
    context.mcpReq === undefined ? { ...context, signal } : { ...context, mcpReq: { ...context.mcpReq, signal } };
  return [...callArguments.slice(0, -1), replaced];
}

/**
 * Who calls: issuer, subject and sorted scopes, where the token's verifier left `iss` and `sub` in `authInfo.extra`; else a
 * keyed hash of the token; undefined for one who did not say. Never the client id, which all users of an app share.
 */
export function identify(context: ToolContext): string | undefined {
  const authInfo = context.http?.authInfo ?? context.authInfo;
  if (authInfo === undefined) return undefined;
  const { subject, issuer, sub = subject, iss = issuer } = authInfo.extra ?? {};
  if (typeof sub === 'string' && sub !== '') {
    return JSON.stringify([typeof iss === 'string' ? iss : '', sub, [...(authInfo.scopes ?? [])].sort()]);
  }
  if (!authInfo.token) return undefined;
  return createHmac('sha256', processSecret).update(authInfo.token).digest('base64url');
}

/** Tokens are not kept, nor a hash of them that means anything outside this process. */
const processSecret = randomBytes(32);
