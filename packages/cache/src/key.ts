import { hash } from 'node:crypto';
import { types } from 'node:util';

const MAX_DEPTH = 100;
const MAX_KEY_LENGTH = 4_096;
const MAX_TOOL_NAME_LENGTH = 256;

/**
 * The canonical JSON text of a JSON value: object keys in code-unit order, no white space. Two values have the same text
 * only when they are the same JSON value, and -0 is told from 0. What JSON cannot hold (undefined, NaN, bigint, Map, Date, a class
 * instance, a symbol key, a hole, an unpaired surrogate …) is refused with a TypeError that names where it stands, since
 * folding it onto a look-alike would give two inputs one key.
 */
export function stableKey(value: unknown): string {
  return canonical(value, []);
}

/** `tool:<toolName>:<sha256 of the canonical JSON of the arguments>`. The order of the arguments does not matter. */
export function toolKey(toolName: string, args: unknown): string {
  if (typeof toolName !== 'string' || toolName === '' || toolName.length > MAX_TOOL_NAME_LENGTH) {
    throw new TypeError(
      `@x/cache: toolName must be a string of 1 to ${MAX_TOOL_NAME_LENGTH} characters, got ${describe(toolName)}`,
    );
  }
  checkWellFormed(toolName);
  return `tool:${toolName}:${digest(stableKey(args))}`;
}

/** A key for the arguments of a wrapped function: readable while short, hashed when long. */
export function callKey(name: string, args: readonly unknown[]): string {
  const text = stableKey(args);
  // The two forms cannot meet: canonical JSON of an array begins with a bracket, a digest never does.
  return `fn:${name}:${text.length <= 128 ? text : digest(text)}`;
}

/** What every key must be before something is stored or loaded under it. */
export function checkKey(key: string): void {
  if (typeof key !== 'string') throw new TypeError(`@x/cache: key must be a string, got ${describe(key)}`);
  if (key === '' || key.length > MAX_KEY_LENGTH) {
    throw new RangeError(`@x/cache: key must have 1 to ${MAX_KEY_LENGTH} characters, got ${key.length}`);
  }
  checkWellFormed(key);
}

/** 256 bits, in hexadecimal. */
function digest(text: string): string {
  return hash('sha256', text, 'hex');
}

function checkWellFormed(text: string): void {
  // UTF-8 folds every unpaired surrogate onto U+FFFD, so two such keys would meet in Redis or under a hash.
  if (!isWellFormed(text)) throw new TypeError('@x/cache: key must not hold an unpaired surrogate');
}

function canonical(value: unknown, path: (string | number)[]): string {
  switch (typeof value) {
    case 'string':
      if (!isWellFormed(value)) throw notJson(value, path, 'a string with an unpaired surrogate');
      return JSON.stringify(value);
    case 'number':
      if (!Number.isFinite(value)) throw notJson(value, path);
      return Object.is(value, -0) ? '-0' : String(value);
    case 'boolean':
      return value ? 'true' : 'false';
    case 'object':
      if (value === null) return 'null';
      // It may answer otherwise when it is read the next time.
      if (types.isProxy(value)) throw notJson(value, path, 'a proxy');
      if (path.length >= MAX_DEPTH) throw notJson(value, path, `nested more than ${MAX_DEPTH} deep (or in a circle)`);
      return Array.isArray(value) ? canonicalArray(value, path) : canonicalObject(value, path);
    default:
      throw notJson(value, path);
  }
}

function canonicalArray(value: readonly unknown[], path: (string | number)[]): string {
  // One own key for each item and `length`: anything else is a hole or a property that JSON would lose.
  if (Object.getPrototypeOf(value) !== Array.prototype) throw notJson(value, path);
  if (Reflect.ownKeys(value).length !== value.length + 1) {
    throw notJson(value, path, 'an array with holes or extra properties');
  }
  let text = '[';
  for (let index = 0; index < value.length; index++) {
    path.push(index);
    text += (index === 0 ? '' : ',') + canonical(ownData(value, index, path), path);
    path.pop();
  }
  return `${text}]`;
}

function canonicalObject(value: object, path: (string | number)[]): string {
  if (!isPlainObject(value)) throw notJson(value, path);
  if (hasHiddenState(value)) throw notJson(value, path, 'an object of a class, whatever its prototype says');
  const keys = Object.keys(value).sort();
  if (Reflect.ownKeys(value).length !== keys.length) {
    throw notJson(value, path, 'an object with symbol keys or hidden properties');
  }
  let text = '{';
  let first = true;
  for (const key of keys) {
    path.push(key);
    if (!isWellFormed(key)) throw notJson(value, path, 'a property name with an unpaired surrogate');
    text += `${first ? '' : ','}${JSON.stringify(key)}:${canonical(ownData(value, key, path), path)}`;
    path.pop();
    first = false;
  }
  return `${text}}`;
}

/** A getter may answer otherwise when it is read the next time. */
function ownData(value: object, name: string | number, path: (string | number)[]): unknown {
  const property = Object.getOwnPropertyDescriptor(value, name);
  if (property !== undefined && 'value' in property) return property.value;
  throw notJson(value, path, property === undefined ? 'a hole' : 'a getter or a setter');
}

/** Whether JSON could have made it: no prototype, or a realm's own Object.prototype. */
export function isPlainObject(value: object): boolean {
  const prototype: object | null = Object.getPrototypeOf(value);
  if (prototype === null || prototype === Object.prototype) return true;
  // An object of another realm (node:vm) has that realm's root prototype.
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, 'isPrototypeOf');
}

/** What no property tells of, so that two of them would look alike. */
function hasHiddenState(value: object): boolean {
  return (
    types.isDate(value) ||
    types.isMap(value) ||
    types.isSet(value) ||
    types.isRegExp(value) ||
    types.isPromise(value) ||
    types.isBoxedPrimitive(value) ||
    types.isAnyArrayBuffer(value) ||
    ArrayBuffer.isView(value)
  );
}

/** Whether it has no unpaired surrogate. */
export function isWellFormed(text: string): boolean {
  return (text as string & { isWellFormed(): boolean }).isWellFormed();
}

function notJson(value: unknown, path: readonly (string | number)[], kind: string = describe(value)): TypeError {
  const where = path
    .slice(0, 10)
    .map((step) => (typeof step === 'number' ? `[${step}]` : `.${step}`))
    .join('');
  return new TypeError(
    `@x/cache: only JSON values can make a key, and $${where}${path.length > 10 ? '…' : ''} is ${kind}`,
  );
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value === 'string') return value.length > 40 ? `a string of ${value.length} characters` : `'${value}'`;
  if (typeof value === 'number') return String(value);
  if (typeof value !== 'object') return value === undefined ? 'undefined' : `a ${typeof value}`;
  const made = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(value) ?? {}, 'constructor');
  const name = (made?.value as { name?: unknown } | undefined)?.name;
  return typeof name === 'string' && name !== '' ? `a ${name}` : 'an object with a prototype of its own';
}
