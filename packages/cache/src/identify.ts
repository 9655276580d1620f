import { createHmac } from 'node:crypto';
import { isWellFormed, stableKey } from './key.ts';
import { authInfoOf, type ToolContext } from './tool-context.ts';

/**
 * Who the user of a call is, or undefined if there is nobody: issuer, subject and sorted scopes from `authInfo.extra` (`iss` or
 * `issuer`, `sub` or `subject`) and `authInfo.scopes`, so that a new access token of the same user is the same user; without a subject,
 * an HMAC of the token. Never the `clientId` alone, which all users of an app share.
 */
export function identify(context: unknown): string | undefined {
  const authInfo = authInfoOf((context ?? {}) as ToolContext);
  if (authInfo === undefined || authInfo === null) return undefined;
  const extra = authInfo.extra ?? {};
  const subject = text(extra.sub) ?? text(extra.subject);
  if (subject !== undefined) {
    // Without an issuer the app stands in for it: two issuers may know different people by one subject.
    const issuer = text(extra.iss) ?? text(extra.issuer);
    const realm = issuer === undefined ? ['client', text(authInfo.clientId) ?? ''] : ['issuer', issuer];
    const parts = [...realm, subject, ...scopesOf(authInfo.scopes, extra.scope)];
    // Text that no key can tell apart names nobody; the token does.
    if (parts.every(isWellFormed)) return stableKey(['user', ...realm, subject, parts.slice(realm.length + 1)]);
  }
  const token = text(authInfo.token);
  // Not secret, as all processes must agree: the key sets this digest apart from any other hash of the token.
  return token && stableKey(['token', createHmac('sha256', 'x/identify').update(token).digest('base64url')]);
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function scopesOf(list: unknown, spaced: unknown): string[] {
  const scopes = Array.isArray(list) ? list.filter((scope) => typeof scope === 'string') : [];
  if (scopes.length === 0 && typeof spaced === 'string') scopes.push(...spaced.split(' ').filter(Boolean));
  return [...new Set(scopes)].sort();
}
