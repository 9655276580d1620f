export function checkTarget(target: string | URL): URL {
  const url = URL.canParse(String(target)) ? new URL(target) : undefined;
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:')
    throw new TypeError(`@x/loadtest: target must be an http or https URL, got ${JSON.stringify(String(target))}`);
  if (url.username !== '' || url.password !== '')
    throw new TypeError('@x/loadtest: target must not carry credentials; put them into headers');
  return url;
}

export function checkTool(tool: string): void {
  if (typeof tool !== 'string' || tool === '')
    throw new TypeError(`@x/loadtest: tool must be the name of a tool, got ${JSON.stringify(tool)}`);
}

export function checkArguments(args: unknown): void {
  const isObject = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value);
  const fits =
    typeof args === 'function' || isObject(args) || (Array.isArray(args) && args.length > 0 && args.every(isObject));
  if (!fits)
    throw new TypeError(
      `@x/loadtest: args must be an object, a list of objects that is not empty, or a function, got ${JSON.stringify(args)}`,
    );
}

export function checkHeaders(headers: Readonly<Record<string, string>>): void {
  try {
    new Headers(headers);
  } catch (cause) {
    // Without the value: it may be a token.
    throw new TypeError('@x/loadtest: headers must be names and values that HTTP allows', { cause });
  }
}

export function checkNumber(
  option: string,
  value: number,
  { min, above, integer = false }: { min?: number; above?: number; integer?: boolean },
): void {
  const fits =
    Number.isFinite(value) &&
    (!integer || Number.isInteger(value)) &&
    (min === undefined || value >= min) &&
    (above === undefined || value > above);
  if (fits) return;
  const rule = `${integer ? 'an integer' : 'a number'} ${min === undefined ? `> ${above}` : `>= ${min}`}`;
  throw new RangeError(`@x/loadtest: ${option} must be ${rule}, got ${value}`);
}
