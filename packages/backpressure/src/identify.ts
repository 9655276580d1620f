import { createHmac } from 'node:crypto';
import { authInfoOf, type ToolContext } from './tool-context.ts';

/**
 * Who calls: issuer, subject and sorted scopes, where the token's verifier left them in `authInfo.extra` (`iss` or `issuer`, `sub`
 * or `subject`) and `authInfo.scopes`; else an HMAC of the token; undefined for one who did not say. Never the client id alone,
 * which all users of an app share. The same rule, with the same outcome, as `identify` of `@x/cache/mcp`.
 */
export function identify(context: ToolContext): string | undefined {
  const authInfo = authInfoOf(context);
  if (authInfo === undefined || authInfo === null) return undefined;
  const extra = authInfo.extra ?? {};
  const subject = text(extra.sub) ?? text(extra.subject);
  if (subject !== undefined) {
    // Without an issuer the app stands in for it: two issuers may know different people by one subject.
    const issuer = text(extra.iss) ?? text(extra.issuer);
    const realm = issuer === undefined ? ['client', text(authInfo.clientId) ?? ''] : ['issuer', issuer];
    return JSON.stringify(['user', ...realm, subject, scopesOf(authInfo.scopes, extra.scope)]);
  }
  const token = text(authInfo.token);
  return token && JSON.stringify(['token', createHmac('sha256', 'x/identify').update(token).digest('base64url')]);
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function scopesOf(list: unknown, spaced: unknown): string[] {
  const scopes = Array.isArray(list) ? list.filter((scope) => typeof scope === 'string') : [];
  if (scopes.length === 0 && typeof spaced === 'string') scopes.push(...spaced.split(' ').filter(Boolean));
  return [...new Set(scopes)].sort();
}
