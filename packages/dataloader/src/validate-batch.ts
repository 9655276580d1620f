/** The part of Standard Schema (https://standardschema.dev, version 1) that validation needs; zod, valibot and arktype have it. */
export interface Validator<Output> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown, ...rest: never[]) => Checked<Output> | Promise<Checked<Output>>;
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined;
  };
}

type Checked<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | {
      readonly issues: ReadonlyArray<{
        readonly message: string;
        readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined;
      }>;
    };

/** One thing that is wrong with one item. */
export interface ItemError {
  /** Which item, from 0. */
  index: number;
  /** Where in the item; empty for the item itself. */
  path: PropertyKey[];
  message: string;
}

export interface ValidatedBatch<Output> {
  /** What the schema made of the items that passed, in order: all items if there are no errors. */
  valid: Output[];
  /** Every error of every item, in order of items. */
  errors: ItemError[];
}

/**
 * Checks all items before anything is written. Always asynchronous: a validator may be, and one that is not costs no
 * more than the wait for the next promise callback. An error that a validator throws rejects.
 */
export async function validateBatch<Output>(
  items: Iterable<unknown>,
  schema: Validator<Output>,
): Promise<ValidatedBatch<Output>> {
  const standard = schema?.['~standard'];
  if (typeof standard?.validate !== 'function') {
    throw new TypeError(
      `@x/dataloader: validateBatch: schema must be a Standard Schema validator (such as a zod schema), got ${String(schema)}`,
    );
  }
  // `async`, so that what is thrown for one item does not leave the rejections of others to nobody.
  const results = await Promise.all(Array.from(items, async (item) => standard.validate(item)));
  const valid: Output[] = [];
  const errors: ItemError[] = [];
  for (const [index, result] of results.entries()) {
    if (result.issues === undefined) {
      valid.push(result.value);
      continue;
    }
    for (const { message, path = [] } of result.issues) {
      // Not `path.map`: arktype's path is an array of a class of its own, and so would be what that gives.
      errors.push({ index, path: Array.from(path, (part) => (typeof part === 'object' ? part.key : part)), message });
    }
  }
  return { valid, errors };
}
