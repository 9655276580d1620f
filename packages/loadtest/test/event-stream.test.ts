import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EventStreamParser } from '../src/sse.ts';

function parse(chunks: Uint8Array[]): string[] {
  const events: string[] = [];
  const parser = new EventStreamParser((data) => events.push(data));
  for (const chunk of chunks) parser.push(chunk);
  return events;
}

test('events come out the same however their bytes are cut and their lines end', () => {
  const line = fc.string({ unit: 'grapheme' }).map((text) => text.replace(/[\r\n]/g, ''));
  const event = fc.array(line, { minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(fc.array(event), fc.constantFrom('\n', '\r\n', '\r'), fc.array(fc.nat(20)), (events, end, cuts) => {
      const text = events
        .map(
          (lines) =>
            [': comment', 'event: message', ...lines.map((data) => `data: ${data}`), '', 'id: 1', ''].join(end) + end,
        )
        .join('');
      // A CR at the very end may be half of a CRLF, so the parser waits for what follows.
      const bytes = new TextEncoder().encode(`${text}: end\n`);
      const chunks: Uint8Array[] = [];
      let from = 0;
      for (const cut of cuts) {
        chunks.push(bytes.subarray(from, from + cut));
        from += cut;
      }
      chunks.push(bytes.subarray(from));
      expect(parse(chunks)).toEqual(events.map((lines) => lines.join('\n')));
    }),
  );
});

test('one space after the colon is dropped, no more', () => {
  expect(parse([new TextEncoder().encode('data:a\ndata:  b\ndata\n\n')])).toEqual(['a\n b\n']);
});

test('an event that was not ended is none', () => {
  expect(parse([new TextEncoder().encode('data: a\n')])).toEqual([]);
});

test('a CRLF that is cut in two ends one line', () => {
  const encode = (text: string) => new TextEncoder().encode(text);
  expect(parse([encode('data: a\r'), encode('\ndata: b\r\n\r'), encode('\n')])).toEqual(['a\nb']);
});
