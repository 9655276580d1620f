import { lookup as dnsLookup, type LookupAddress, type LookupAllOptions } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';
import { PoolError } from '../errors.ts';

/** What a pool may connect to. Without a policy it connects to whatever it is asked to. */
export interface EgressPolicy {
  /**
   * Origins, exact (`https://api.example.com`, `http://127.0.0.1:8080`), that may be connected to wherever they are,
   * private addresses included. Default: none.
   */
  allowOrigins?: readonly string[] | undefined;
  /** Whether an origin that is not listed may be reached at a public address. `false`: the list is all there is. Default true. */
  allowPublic?: boolean | undefined;
  /** Whether an origin that is not listed may be reached at a private, loopback, link-local or other special address. Default false. */
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

/** Decides by origin before a connection is asked for, and by address when it is made. */
export class Egress {
  readonly #policy: EgressPolicy | undefined;
  readonly #listed = new Set<string>();
  readonly #lookup: LookupAll;

  constructor(policy: EgressPolicy | undefined, lookup: LookupAll = dnsLookup) {
    this.#policy = policy;
    this.#lookup = lookup;
    for (const origin of policy?.allowOrigins ?? []) {
      const url = URL.canParse(origin) ? new URL(origin) : undefined;
      if (url === undefined || !/^https?:$/.test(url.protocol) || url.href !== `${url.origin}/`) {
        throw new TypeError(
          `@x/pools: HttpPool.egress.allowOrigins must hold origins like "https://host:port", got ${JSON.stringify(origin)}`,
        );
      }
      this.#listed.add(url.origin);
    }
  }

  /** Throws when nothing at this origin may be reached. `true`: the address must be checked as well. */
  check(url: URL): boolean {
    const policy = this.#policy;
    if (policy === undefined || this.#listed.has(url.origin)) return false;
    if (policy.allowPublic === false && policy.allowPrivate !== true) {
      throw denied(url.origin, 'is not in allowOrigins');
    }
    if (policy.allowSchemes !== undefined && !policy.allowSchemes.some((scheme) => `${scheme}:` === url.protocol)) {
      throw denied(url.origin, `has a scheme that is not allowed (${url.protocol.slice(0, -1)})`);
    }
    const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80));
    if (policy.allowPorts !== undefined && !policy.allowPorts.includes(port)) {
      throw denied(url.origin, `has a port that is not allowed (${port})`);
    }
    // A literal is refused here already, so that it costs no connection slot; a name is resolved only to connect.
    const literal = url.hostname.replace(/^\[|\]$/g, '');
    if (isIP(literal) !== 0) this.checkAddress(literal, url.origin);
    return true;
  }

  /** Throws when this address may not be connected to. */
  checkAddress(address: string, destination: string): void {
    const isPublic = isPublicAddress(address);
    if (isPublic ? this.#policy?.allowPublic === false : this.#policy?.allowPrivate !== true) {
      throw denied(destination, `is at a ${isPublic ? 'public' : 'private or special'} address`);
    }
  }

  /**
   * The resolver that a guarded connection is made with: what it returns is what is connected to, so a name that
   * resolves differently a moment later (DNS rebinding) changes nothing. One refused address refuses the name.
   */
  readonly guardedLookup: LookupFunction = (hostname, options, callback) => {
    this.#lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, '', 0);
      try {
        for (const { address } of addresses) this.checkAddress(address, hostname);
      } catch (refusal) {
        return callback(refusal as NodeJS.ErrnoException, '', 0);
      }
      const first = addresses[0];
      if (first === undefined) {
        const missing: NodeJS.ErrnoException = new Error(`${hostname} has no address`);
        missing.code = 'ENOTFOUND';
        return callback(missing, '', 0);
      }
      if (options.all) return callback(null, addresses);
      callback(null, first.address, first.family);
    });
  };

  readonly plainLookup: LookupFunction = (hostname, options, callback) => {
    this.#lookup(hostname, { ...options, all: true }, (error, addresses) => {
      const first = addresses?.[0];
      if (error || first === undefined) return callback(error ?? new Error(`${hostname} has no address`), '', 0);
      if (options.all) return callback(null, addresses);
      callback(null, first.address, first.family);
    });
  };
}

/** Azure's metadata and wire server, which has a public address and answers only to guests of the host. */
const metadataAtPublicAddress = '168.63.129.16';

/**
 * Whether an address is on the public internet: plain unicast, IPv4-mapped addresses unwrapped. Of IPv6 only 2000::/3 is
 * given out at all (IANA, IPv6 Global Unicast Address Assignments): the rest holds forms that lead back into IPv4, such
 * as `::127.0.0.1`, for which the parser has no name of its own once it is written in hexadecimal.
 */
export function isPublicAddress(address: string): boolean {
  const bare = address.replace(/%.*$/, '');
  if (!ipaddr.isValid(bare)) return false;
  const parsed = ipaddr.process(bare);
  if (parsed.range() !== 'unicast' || parsed.toString() === metadataAtPublicAddress) return false;
  return parsed.kind() === 'ipv4' || parsed.match(globalUnicast);
}

const globalUnicast = ipaddr.IPv6.parseCIDR('2000::/3');

function denied(destination: string, why: string): PoolError {
  return new PoolError('ERR_EGRESS_DENIED', `The egress policy forbids this request: ${destination} ${why}`);
}
