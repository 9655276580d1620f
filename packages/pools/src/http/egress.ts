import type { LookupAddress, LookupAllOptions } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';
import { wrongType } from '../check-options.ts';
import { PoolError } from '../errors.ts';

/** What a pool may connect to. Without a policy it connects to whatever it is asked to. */
export interface EgressPolicy {
  /**
   * Origins, exact (`https://api.example.com`, `http://127.0.0.1:8080`). One that is listed by its address is allowed there.
   * One that is listed by name must be at a public address, or at an address that is listed too with the same scheme and
   * port; `localhost` at a loopback address. Default: none.
   */
  allowOrigins?: readonly string[] | undefined;
  /** Whether an origin that is not listed may be reached at a public address. `false`: the list is all there is. Default true. */
  allowPublic?: boolean | undefined;
  /**
   * Whether an origin that is not listed, or is listed by name, may be reached at a private, loopback, link-local or other
   * special address. Default false.
   */
  allowPrivate?: boolean | undefined;
  /** The schemes of origins that are not listed. Default both. */
  allowSchemes?: readonly ('http' | 'https')[] | undefined;
  /** The ports of origins that are not listed, e.g. `[80, 443]`. Default: any. */
  allowPorts?: readonly number[] | undefined;
}

/** Resolves a name to all its addresses, as `dns.lookup` with `all: true` does. */
export type LookupAll = (
  hostname: string,
  options: LookupAllOptions,
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** Throws when an origin, which its caller knows as `destination`, may not be reached at this address. */
export type AddressRule = (address: string, destination: string) => void;

/** Decides by origin before a connection is asked for, and by address when it is made. */
export class Egress {
  readonly #policy: EgressPolicy | undefined;
  /** Listed origins, each with the rule for its address. */
  readonly #listed = new Map<string, AddressRule | undefined>();
  readonly #lookup: LookupAll;

  constructor(policy: EgressPolicy | undefined, lookup: LookupAll) {
    this.#policy = policy;
    this.#lookup = lookup;
    if (policy !== undefined) checkPolicy(policy);
    const urls = (policy?.allowOrigins ?? []).map(parseOrigin);
    for (const url of urls) this.#listed.set(url.origin, this.#ruleOf(url, urls));
  }

  /** Throws when nothing at this origin may be reached, else gives the rule for its address, if there is one. */
  check(url: URL, origin: string): AddressRule | undefined {
    const policy = this.#policy;
    if (policy === undefined) return undefined;
    if (this.#listed.has(origin)) return this.#listed.get(origin);
    if (policy.allowPublic === false && policy.allowPrivate !== true) {
      throw denied(origin, 'is not in allowOrigins');
    }
    if (policy.allowSchemes !== undefined && !policy.allowSchemes.some((scheme) => `${scheme}:` === url.protocol)) {
      throw denied(origin, `has a scheme that is not allowed (${url.protocol.slice(0, -1)})`);
    }
    const port = portOf(url);
    if (policy.allowPorts !== undefined && !policy.allowPorts.includes(port)) {
      throw denied(origin, `has a port that is not allowed (${port})`);
    }
    // A literal is refused here already, so that it costs no connection slot; a name is resolved only to connect.
    const literal = literalOf(url);
    if (literal !== undefined) this.#unlisted(literal, origin);
    return this.#unlisted;
  }

  /**
   * A resolver that holds to a rule: what it returns is what is connected to, so a name that resolves differently a moment
   * later (DNS rebinding) changes nothing. One refused address refuses the name.
   */
  lookup(rule: AddressRule | undefined): LookupFunction {
    return (hostname, options, callback) => {
      this.#lookup(hostname, { ...options, all: true }, (error, addresses) => {
        const first = addresses?.[0];
        if (error) return callback(error, '', 0);
        if (first === undefined) return callback(noAddress(hostname), '', 0);
        try {
          if (rule !== undefined) for (const { address } of addresses) rule(address, hostname);
        } catch (refusal) {
          return callback(refusal as NodeJS.ErrnoException, '', 0);
        }
        if (options.all) return callback(null, addresses);
        callback(null, first.address, first.family);
      });
    };
  }

  readonly #unlisted: AddressRule = (address, destination) => {
    const isPublic = isPublicAddress(address);
    if (isPublic ? this.#policy?.allowPublic === false : this.#policy?.allowPrivate !== true) {
      throw denied(destination, `is at a ${isPublic ? 'public' : 'private or special'} address`);
    }
  };

  /** An origin is listed for what its name means: whoever answers for the name in DNS does not get to mean an inner address. */
  #ruleOf(listed: URL, all: readonly URL[]): AddressRule | undefined {
    if (literalOf(listed) !== undefined) return undefined;
    if (listed.hostname === 'localhost') {
      return (address) => {
        if (isLoopback(address)) return;
        throw denied(listed.origin, `is allowed at loopback addresses (127.0.0.0/8, ::1), and resolves to ${address}`);
      };
    }
    if (this.#policy?.allowPrivate === true) return undefined;
    const addresses = new Set(
      all
        .filter((url) => url.protocol === listed.protocol && portOf(url) === portOf(listed))
        .map((url) => parseAddress(literalOf(url) ?? '')?.toString()),
    );
    return (address) => {
      const parsed = parseAddress(address)?.toString();
      if (isPublicAddress(address) || (parsed !== undefined && addresses.has(parsed))) return;
      const alsoList = `${listed.protocol}//${isIP(address) === 6 ? `[${address}]` : address}:${portOf(listed)}`;
      throw denied(
        listed.origin,
        `is listed, but resolves to ${address}, a private or special address; if that is meant, list ${alsoList} too`,
      );
    };
  }
}

/** A guard that was meant and is not there is worse than none: nothing that looks like one is taken for another. */
function checkPolicy(policy: EgressPolicy): void {
  const { allowPublic, allowPrivate, allowOrigins, allowSchemes, allowPorts } = policy;
  for (const [option, value] of Object.entries({ allowPublic, allowPrivate })) {
    if (value === undefined || typeof value === 'boolean') continue;
    throw wrongType(`HttpPool.egress.${option}`, 'true or false', value);
  }
  for (const [option, value] of Object.entries({ allowOrigins, allowSchemes, allowPorts })) {
    if (value !== undefined && !Array.isArray(value)) throw wrongType(`HttpPool.egress.${option}`, 'an array', value);
  }
  for (const scheme of allowSchemes ?? []) {
    if (scheme === 'http' || scheme === 'https') continue;
    throw new TypeError(
      `@x/pools: HttpPool.egress.allowSchemes must hold "http" or "https", got ${JSON.stringify(scheme)}`,
    );
  }
  for (const port of allowPorts ?? []) {
    if (Number.isInteger(port) && port >= 1 && port <= 65_535) continue;
    throw new TypeError(
      `@x/pools: HttpPool.egress.allowPorts must hold ports from 1 to 65535, got ${JSON.stringify(port)}`,
    );
  }
}

function parseOrigin(origin: string): URL {
  const url = URL.canParse(origin) ? new URL(origin) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.href !== `${url.origin}/`) {
    throw new TypeError(
      `@x/pools: HttpPool.egress.allowOrigins must hold origins like "https://host:port", got ${JSON.stringify(origin)}`,
    );
  }
  return url;
}

function portOf(url: URL): number {
  return Number(url.port || (url.protocol === 'https:' ? 443 : 80));
}

/** The address that stands in the URL itself, if it is no name. */
function literalOf(url: URL): string | undefined {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return isIP(host) === 0 ? undefined : host;
}

function noAddress(hostname: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${hostname} has no address`), { code: 'ENOTFOUND' });
}

/** Azure's metadata and wire server, which has a public address and answers only to guests of the host. */
const metadataAtPublicAddress = '168.63.129.16';

/**
 * Whether an address is on the public internet: plain unicast, IPv4-mapped addresses unwrapped. Of IPv6 only 2000::/3 is
 * given out at all (IANA, IPv6 Global Unicast Address Assignments): the rest holds forms that lead back into IPv4, such
 * as `::127.0.0.1`, for which the parser has no name of its own once it is written in hexadecimal.
 */
export function isPublicAddress(address: string): boolean {
  const parsed = parseAddress(address);
  if (parsed?.range() !== 'unicast' || parsed.toString() === metadataAtPublicAddress) return false;
  return parsed.kind() === 'ipv4' || parsed.match(globalUnicast);
}

function isLoopback(address: string): boolean {
  return parseAddress(address)?.range() === 'loopback';
}

/** Without its zone, and unwrapped where it is IPv4 in IPv6. */
function parseAddress(address: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  const bare = address.replace(/%.*$/, '');
  return ipaddr.isValid(bare) ? ipaddr.process(bare) : undefined;
}

const globalUnicast = ipaddr.IPv6.parseCIDR('2000::/3');

function denied(destination: string, why: string): PoolError {
  return new PoolError('ERR_EGRESS_DENIED', `The egress policy forbids this request: ${destination} ${why}`);
}
