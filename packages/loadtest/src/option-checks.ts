/** Node fires a longer timer at once. */
export const LONGEST_TIMER_MS: number = 2 ** 31 - 1;

export function checkTarget(target: string | URL): URL {
  const url = URL.canParse(String(target)) ? new URL(target) : undefined;
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:')
    throw new TypeError(
      `@x/loadtest: target must be an http or https URL, got ${JSON.stringify(shown(String(target)))}`,
    );
  if (url.username !== '' || url.password !== '')
    throw new TypeError('@x/loadtest: target must not carry credentials; put them into headers');
  return url;
}

/** Without what may be secret: credentials and the query. */
function shown(target: string): string {
  return target.replace(/[?#].*$/s, '').replace(/[^/]*@/, '');
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

/** The headers by lower-case name. */
export function checkHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  try {
    return Object.fromEntries(new Headers(headers));
  } catch (cause) {
    // Without the value: it may be a token.
    throw new TypeError('@x/loadtest: headers must be names and values that HTTP allows', { cause });
  }
}

export function checkFunction(option: string, value: unknown): void {
  if (typeof value !== 'function')
    throw new TypeError(`@x/loadtest: ${option} must be a function, got ${JSON.stringify(value)}`);
}

export function checkMethods(option: string, value: unknown, methods: readonly string[]): void {
  const object = Object(value) as Record<string, unknown>;
  if (methods.some((method) => typeof object[method] !== 'function'))
    throw new TypeError(
      `@x/loadtest: ${option} must be an object with ${methods.map((method) => `${method}()`).join(', ')}, got ${JSON.stringify(value)}`,
    );
}

export function checkNumber(
  option: string,
  value: number,
  { min, above, max = Infinity, integer = false }: { min?: number; above?: number; max?: number; integer?: boolean },
): void {
  const fits =
    Number.isFinite(value) &&
    (!integer || Number.isInteger(value)) &&
    value <= max &&
    (min === undefined || value >= min) &&
    (above === undefined || value > above);
  if (fits) return;
  const most = max === Infinity ? '' : ` and <= ${max}`;
  const rule = `${integer ? 'an integer' : 'a number'} ${min === undefined ? `> ${above}` : `>= ${min}`}${most}`;
  const message = `@x/loadtest: ${option} must be ${rule}, got ${typeof value === 'string' ? JSON.stringify(value) : value}`;
  throw typeof value === 'number' ? new RangeError(message) : new TypeError(message);
}
