import { PoolError } from '../errors.ts';
import { type HopRequest, type HopResponse, isStreamed } from './hop.ts';

/** The request that a redirect asks for (RFC 9110, 15.4; fetch standard, HTTP-redirect fetch), or undefined when it is none. */
export function redirected(request: HopRequest, response: HopResponse): HopRequest | undefined {
  if (!redirects.has(response.status) || response.headers.location === undefined) return undefined;
  const url = resolve(onlyOne(response.headers.location, request), request.url);
  const dropsBody =
    response.status === 303
      ? request.method !== 'HEAD' && request.method !== 'GET'
      : response.status <= 302 && request.method === 'POST';
  if (!dropsBody && isStreamed(request.body)) {
    throw new PoolError('ERR_INVALID_RESPONSE', `${request.origin} redirected a request whose body is a stream`, {
      status: response.status,
    });
  }
  const { origin } = url;
  const sameOrigin = origin === request.origin;
  const headers: HopRequest['headers'] = Object.create(null);
  for (const [name, value] of Object.entries(request.headers)) {
    if (name === 'host' || (dropsBody && name.startsWith('content-'))) continue;
    if (sameOrigin || harmless.has(name)) headers[name] = value;
  }
  return {
    url,
    origin,
    method: dropsBody ? 'GET' : request.method,
    headers,
    body: dropsBody ? undefined : request.body,
  };
}

const redirects = new Set([301, 302, 303, 307, 308]);

/** Any other header may be a secret, whatever its name (`x-api-key`): another origin gets only these. */
const harmless = new Set([
  'accept',
  'accept-encoding',
  'accept-language',
  'cache-control',
  'content-encoding',
  'content-language',
  'content-type',
  'range',
  'user-agent',
]);

/** With two of them, which one counts is anybody's guess; fetch refuses that too. */
function onlyOne(location: string | string[], { origin }: HopRequest): string {
  const [first, ...others] = new Set(typeof location === 'string' ? [location] : location);
  if (first !== undefined && others.length === 0) return first;
  throw new PoolError('ERR_INVALID_RESPONSE', `${origin} redirected to several addresses at once`);
}

function resolve(location: string, base: URL): URL {
  const url = URL.canParse(location, base.href) ? new URL(location, base) : undefined;
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new PoolError('ERR_INVALID_URL', `${base.origin} redirected to something that is no http or https address`);
  }
  url.username = '';
  url.password = '';
  url.hash ||= base.hash;
  return url;
}
