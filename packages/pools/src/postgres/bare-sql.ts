/**
 * A text of SQL as far as what it does is concerned: without comments, and with nothing in its strings. `undefined` when it
 * has what is not read here (a backslash, a dollar quote, a comment in a comment, an identifier in Unicode escapes), or is long:
 * then it may do anything. One that is cut off in the middle of a string or a comment does nothing, and comes back as it may.
 *
 * @see https://www.postgresql.org/docs/current/sql-syntax-lexical.html
 */
export function bareSql(text: string): string | undefined {
  if (text.length > longestRead || isNotRead.test(text)) return undefined;
  return text.replace(token, (found) => {
    if (found[0] === '"') return ` ${found} `;
    return found[0] === "'" ? " '' " : ' ';
  });
}

/** Longer texts are of many rows; another round trip is little to what they take. */
const longestRead = 20_000;

// Each ends in one way only, so that they take time in proportion to the text, whatever that is.
const isNotRead = /\\|\$[\w\u0080-\uffff]*\$|\bu&"|\/\*(?:[^*/]|\*(?!\/)|\/(?!\*))*\/\*/i;
const token = /--[^\n\r]*|\/\*(?:[^*]|\*(?!\/))*\*\/|'[^']*'|"(?:[^"]|"")*"/g;
