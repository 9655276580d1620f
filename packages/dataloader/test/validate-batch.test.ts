import { validateBatch } from '@x/dataloader';
import { type } from 'arktype';
import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';

const Item = z.object({ title: z.string().trim().min(1), tags: z.array(z.object({ name: z.string() })).default([]) });

describe('validateBatch', () => {
  it('gives what the schema made of the items when all are right', async () => {
    expect(await validateBatch([{ title: ' a ' }, { title: 'b', extra: 1 }], Item)).toEqual({
      valid: [
        { title: 'a', tags: [] },
        { title: 'b', tags: [] },
      ],
      errors: [],
    });
  });

  it('gives every error of every item with its index and path', async () => {
    const { valid, errors } = await validateBatch(
      [{ title: '' }, { title: 'ok' }, { tags: [{ name: 'x' }, { name: 1 }] }, 7],
      Item,
    );
    expect(valid).toEqual([{ title: 'ok', tags: [] }]);
    expect(errors.map(({ index, path }) => ({ index, path }))).toEqual([
      { index: 0, path: ['title'] },
      { index: 2, path: ['title'] },
      { index: 2, path: ['tags', 1, 'name'] },
      { index: 3, path: [] },
    ]);
    expect(errors.every(({ message }) => message.length > 0)).toBe(true);
  });

  it('waits for asynchronous validators', async () => {
    const known = z.string().refine(async (id) => id === 'u1', 'no such user');
    expect(await validateBatch(['u1', 'u2'], known)).toEqual({
      valid: ['u1'],
      errors: [{ index: 1, path: [], message: 'no such user' }],
    });
  });

  it('takes valibot as it takes zod: values, types, every error with its path', async () => {
    const schema = v.object({ name: v.pipe(v.string(), v.minLength(2)), tags: v.array(v.object({ id: v.number() })) });
    const items = [
      { name: 'ok', tags: [{ id: 1 }] },
      { name: 'x', tags: [{ id: 1 }, { id: 'two' }] },
    ];
    const { valid, errors } = await validateBatch(items, schema);
    const names: string[] = valid.map((item) => item.name);
    expect(names).toEqual(['ok']);
    expect(errors.map(({ index, path }) => [index, path])).toEqual([
      [1, ['name']],
      [1, ['tags', 1, 'id']],
    ]);
  });

  it('takes arktype, whose schemas are functions: values, types, every error with its path', async () => {
    const schema = type({ name: 'string >= 2', tags: type({ id: 'number' }).array(), 'note?': 'string' });
    const items = [{ name: 'ok', tags: [{ id: 1 }] }, { name: 'x', tags: [{ id: 1 }, { id: 'two' }], note: 3 }, 'none'];
    const { valid, errors } = await validateBatch(items, schema);
    const names: string[] = valid.map((item) => item.name);
    expect(names).toEqual(['ok']);
    expect(errors.map(({ index, path }) => [index, path])).toEqual([
      [1, ['name']],
      [1, ['tags', 1, 'id']],
      [1, ['note']],
      [2, []],
    ]);
    expect(errors.every(({ message }) => message.length > 0)).toBe(true);
  });

  it('gives what arktype and valibot made of the items', async () => {
    const Numeric = type('string.numeric.parse');
    expect(await validateBatch(['1', 'x', '3'], Numeric)).toMatchObject({ valid: [1, 3], errors: [{ index: 1 }] });
    const Trimmed = v.pipe(v.string(), v.trim(), v.nonEmpty());
    expect(await validateBatch([' a ', ' '], Trimmed)).toMatchObject({
      valid: ['a'],
      errors: [{ index: 1, path: [] }],
    });
    const Known = v.pipeAsync(
      v.string(),
      v.checkAsync(async (id) => id === 'u1', 'no such user'),
    );
    expect(await validateBatch(['u1', 'u2'], Known)).toEqual({
      valid: ['u1'],
      errors: [{ index: 1, path: [], message: 'no such user' }],
    });
  });

  it('takes any Standard Schema, also with path segments as objects', async () => {
    const schema = {
      '~standard': {
        version: 1 as const,
        vendor: 'test',
        validate: (value: unknown) =>
          value === 1 ? { value: 'one' } : { issues: [{ message: 'not one', path: [{ key: 'a' }, 0] }] },
      },
    };
    const { valid, errors } = await validateBatch(new Set([1, 2]), schema);
    const first: string | undefined = valid[0];
    expect(first).toBe('one');
    expect(errors).toEqual([{ index: 1, path: ['a', 0], message: 'not one' }]);
  });

  it('rejects with what a validator throws, and says what it needs', async () => {
    const broken = z.string().transform(() => {
      throw new Error('broken validator');
    });
    await expect(validateBatch(['x'], broken)).rejects.toThrow('broken validator');
    await expect(validateBatch([], {} as never)).rejects.toThrow(/@x\/dataloader: validateBatch: schema/);
  });
});
