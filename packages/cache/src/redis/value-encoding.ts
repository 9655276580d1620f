/** How entries are written to Redis in place of JSON, such as `msgpack()` of `@x/cache/msgpack`. */
export interface ValueEncoding {
  /** Names it in what is stored: one ASCII letter, not `j`, which is JSON's. */
  readonly id: string;
  /** The bytes, or undefined for what it cannot give back exactly: that is written as JSON. */
  encode(value: unknown): Uint8Array | undefined;
  /** What was encoded. Throws on other bytes, whatever they are, and costs no more memory than a few times their number. */
  decode(bytes: Uint8Array): unknown;
}
