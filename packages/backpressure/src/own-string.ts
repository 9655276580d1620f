/**
 * A copy, to be kept. A part of a longer string (`slice`, `split`, a match) keeps the whole of it in memory as long as it is kept
 * itself: of a caller's header, or its URL, that is 16 KiB.
 */
export function ownString(text: string): string {
  const copy = Buffer.from(text, 'utf8').toString('utf8');
  // A lone surrogate has no UTF-8.
  return copy === text ? copy : Buffer.from(text, 'utf16le').toString('utf16le');
}
