const MAX_DEPTH = 250;

/**
 * Throws unless the bytes are one MessagePack value made of what JSON has, whose lengths are those of bytes that are there. A decoder may
 * believe lengths, and allocate for them, before it has seen the rest; after this check it may.
 * Source: https://github.com/msgpack/msgpack/blob/master/spec.md
 */
export function assertPlainMsgpack(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (skip(view, 0, 0) !== bytes.length) throw new RangeError('@x/cache: more than one MessagePack value');
}

/** Where the value that begins at `at` ends. Reading beyond the end throws a RangeError. */
function skip(view: DataView, at: number, depth: number): number {
  const type = view.getUint8(at);
  const next = at + 1;
  if (type <= 0x7f || type >= 0xe0) return next;
  if (type <= 0x8f) return skipMap(view, next, type & 0x0f, depth);
  if (type <= 0x9f) return skipMany(view, next, type & 0x0f, depth);
  if (type <= 0xbf) return within(view, next + (type & 0x1f));
  switch (type) {
    case 0xc0:
    case 0xc2:
    case 0xc3:
      return next;
    case 0xcc:
    case 0xd0:
      return within(view, next + 1);
    case 0xcd:
    case 0xd1:
      return within(view, next + 2);
    case 0xca:
    case 0xce:
    case 0xd2:
      return within(view, next + 4);
    case 0xcb:
      return within(view, next + 8);
    case 0xd9:
      return within(view, next + 1 + view.getUint8(next));
    case 0xda:
      return within(view, next + 2 + view.getUint16(next));
    case 0xdb:
      return within(view, next + 4 + view.getUint32(next));
    case 0xdc:
      return skipMany(view, next + 2, view.getUint16(next), depth);
    case 0xdd:
      return skipMany(view, next + 4, view.getUint32(next), depth);
    case 0xde:
      return skipMap(view, next + 2, view.getUint16(next), depth);
    case 0xdf:
      return skipMap(view, next + 4, view.getUint32(next), depth);
    default:
      // Binary, extensions, 64-bit integers: JSON has none of them.
      throw new RangeError('@x/cache: not plain MessagePack');
  }
}

function skipMany(view: DataView, at: number, count: number, depth: number): number {
  if (depth === MAX_DEPTH) throw new RangeError('@x/cache: MessagePack nested too deeply');
  let end = at;
  for (let n = 0; n < count; n++) end = skip(view, end, depth + 1);
  return end;
}

function skipMap(view: DataView, at: number, count: number, depth: number): number {
  if (depth === MAX_DEPTH) throw new RangeError('@x/cache: MessagePack nested too deeply');
  let end = at;
  for (let n = 0; n < count; n++) {
    if (!isText(view.getUint8(end))) throw new RangeError('@x/cache: MessagePack with a key that is no text');
    end = skip(view, skip(view, end, depth + 1), depth + 1);
  }
  return end;
}

function isText(type: number): boolean {
  return (type >= 0xa0 && type <= 0xbf) || (type >= 0xd9 && type <= 0xdb);
}

function within(view: DataView, end: number): number {
  if (end > view.byteLength) throw new RangeError('@x/cache: MessagePack that ends early');
  return end;
}
