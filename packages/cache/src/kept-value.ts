import { types } from 'node:util';
import { isPlainObject } from './key.ts';

/** What keeps a value returned from poisoning the one kept. */
export type CopyMode = 'freeze' | 'clone' | 'none';

/** A value as the memory tier holds it. */
export interface KeptValue {
  value: unknown;
  /** Readers get a structured clone: the value can be changed in place. */
  cloned: boolean;
  /** JSON gives it back unchanged, so that it may go to another process. */
  json: boolean;
  /** Estimated size in memory. */
  bytes: number;
}

const MAX_DEPTH = 200;
const NOT_JSON = -1;

/**
 * Makes a value fit to be kept, or returns undefined when it cannot be: it can be changed in place and not be cloned
 * (a function, a socket, a proxy).
 */
export function keep(value: unknown, mode: CopyMode): KeptValue | undefined {
  const bytes = jsonBytes(value, 0);
  const json = bytes !== NOT_JSON;
  if (mode === 'none') return { value, cloned: false, json, bytes: json ? bytes : looseBytes(value) };
  if (json && (mode === 'freeze' || typeof value !== 'object' || value === null)) {
    deepFreeze(value);
    return { value, cloned: false, json, bytes };
  }
  // bigint, NaN and the like are values: nothing to clone.
  if (typeof value !== 'object' && typeof value !== 'function' && typeof value !== 'symbol') {
    return { value, cloned: false, json, bytes: looseBytes(value) };
  }
  try {
    return { value: structuredClone(value), cloned: true, json, bytes: json ? bytes : looseBytes(value) };
  } catch {
    return undefined;
  }
}

/** The same for a value that a parser of JSON has just made, so that nobody else has it; `textBytes` is the size of its text. */
export function keepParsed(value: unknown, textBytes: number, mode: CopyMode): KeptValue | undefined {
  if (mode === 'clone' || (mode === 'freeze' && !freezeParsed(value, 0))) return keep(value, mode);
  // Characters may take two bytes, and objects take more than their braces.
  return { value, cloned: false, json: true, bytes: 64 + 2 * textBytes };
}

/** Whether it was not too deep. */
function freezeParsed(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  if (depth === MAX_DEPTH) return false;
  if (Array.isArray(value)) {
    for (const item of value) {
      if (typeof item === 'object' && !freezeParsed(item, depth + 1)) return false;
    }
  } else {
    // Made by a parser, it has no properties but its own.
    for (const key in value) {
      const item = (value as Record<string, unknown>)[key];
      if (typeof item === 'object' && !freezeParsed(item, depth + 1)) return false;
    }
  }
  Object.freeze(value);
  return true;
}

/** The estimated bytes of a JSON-like value, or NOT_JSON. A property that is undefined counts as absent, as JSON has it. */
function jsonBytes(value: unknown, depth: number): number {
  switch (typeof value) {
    case 'string':
      return 16 + Buffer.byteLength(value);
    case 'number':
      return Number.isFinite(value) ? 8 : NOT_JSON;
    case 'boolean':
      return 4;
    case 'object':
      if (value === null) return 4;
      // A proxy may answer otherwise each time it is read, frozen or not.
      if (depth === MAX_DEPTH || types.isProxy(value)) return NOT_JSON;
      return Array.isArray(value) ? arrayBytes(value, depth) : objectBytes(value, depth);
    default:
      return NOT_JSON;
  }
}

function arrayBytes(array: readonly unknown[], depth: number): number {
  if (Object.getPrototypeOf(array) !== Array.prototype || Object.keys(array).length !== array.length) return NOT_JSON;
  let total = 32 + 8 * array.length;
  for (const item of array) {
    const bytes = jsonBytes(item, depth + 1);
    if (bytes === NOT_JSON) return NOT_JSON;
    total += bytes;
  }
  return total;
}

function objectBytes(object: object, depth: number): number {
  if (!isPlainObject(object) || Object.getOwnPropertySymbols(object).length > 0) return NOT_JSON;
  let total = 56;
  for (const key of Object.keys(object)) {
    const descriptor = Object.getOwnPropertyDescriptor(object, key);
    if (descriptor === undefined || descriptor.get !== undefined || descriptor.set !== undefined) return NOT_JSON;
    if (descriptor.value === undefined) continue;
    const bytes = jsonBytes(descriptor.value, depth + 1);
    if (bytes === NOT_JSON) return NOT_JSON;
    total += 16 + key.length + bytes;
  }
  return total;
}

function deepFreeze(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  for (const key of Object.keys(value)) deepFreeze((value as Record<string, unknown>)[key]);
  Object.freeze(value);
}

/** A rough size of what is not JSON: exact for bytes, a guess for the rest. */
function looseBytes(value: unknown, depth = 0): number {
  if (typeof value === 'string') return 16 + Buffer.byteLength(value);
  if (typeof value !== 'object' || value === null) return 16;
  if (depth === 8 || types.isProxy(value)) return 64;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return 96 + value.byteLength;
  let total = 64;
  for (const item of itemsOf(value)) total += 16 + looseBytes(item, depth + 1);
  return total;
}

function itemsOf(value: object): unknown[] {
  if (value instanceof Map) return [...value].flat();
  if (value instanceof Set) return [...value];
  // A getter may do anything, and be costly: what it gives is not counted.
  return Object.values(Object.getOwnPropertyDescriptors(value)).map((descriptor) => descriptor.value);
}
