export type { ValueEncoding } from '../redis/value-encoding.ts';
export { msgpack } from './msgpack.ts';
