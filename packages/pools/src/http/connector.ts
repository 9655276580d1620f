import { AsyncLocalStorage } from 'node:async_hooks';
import { isIP } from 'node:net';
import { buildConnector } from 'undici';
import type { AddressRule, Egress } from './egress.ts';

/** Opens the sockets of a pool, each held to the rule for the address of its origin. */
export class Connector {
  readonly #egress: Egress;
  /** Told of a name that could not be connected to. */
  readonly #onFailure: (hostname: string) => void;
  readonly #options: object;
  /** One for each rule, with its own resolver: all origins that are not listed have the same. */
  readonly #build = new Map<AddressRule | undefined, buildConnector.connector>();
  // Sockets outlive the request that opened them: they belong to the pool's context, not to the first caller's.
  readonly #inOwnContext = AsyncLocalStorage.snapshot();

  constructor(
    options: { http2: boolean; connectTimeoutMs: number; tls: Record<string, unknown> | undefined },
    egress: Egress,
    onFailure: (hostname: string) => void,
  ) {
    this.#egress = egress;
    this.#onFailure = onFailure;
    this.#options = {
      ...options.tls,
      allowH2: options.http2,
      timeout: options.connectTimeoutMs,
      autoSelectFamily: true,
    };
  }

  /** What undici's Client calls to be connected. `onProtocol` is told whether the server chose HTTP/2. */
  for(
    origin: string,
    rule: AddressRule | undefined,
    onProtocol: (multiplexed: boolean) => void,
  ): buildConnector.connector {
    const connector = this.#connector(rule);
    return (options, callback) => {
      // `lookup` is not called for an address, so an address is checked here.
      if (rule !== undefined && isIP(options.hostname) !== 0) {
        try {
          rule(options.hostname, origin);
        } catch (error) {
          return queueMicrotask(() => callback(error as Error, null));
        }
      }
      this.#inOwnContext(connector, options, ((error: Error | null, socket: { alpnProtocol?: unknown } | null) => {
        if (error === null) onProtocol(socket?.alpnProtocol === 'h2');
        else this.#onFailure(options.hostname);
        (callback as (error: Error | null, socket: unknown) => void)(error, socket);
      }) as buildConnector.Callback);
    };
  }

  #connector(rule: AddressRule | undefined): buildConnector.connector {
    let connector = this.#build.get(rule);
    if (connector === undefined) {
      connector = buildConnector({
        ...this.#options,
        lookup: this.#egress.lookup(rule),
      } as buildConnector.BuildOptions);
      this.#build.set(rule, connector);
    }
    return connector;
  }
}
