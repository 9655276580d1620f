import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

export interface ReadmeExample {
  /** The text after the language of the fence (```` ```ts name ````), or the number of the example, from 1. */
  name: string;
  code: string;
}

/** The ```` ```ts ```` blocks of a package's README, in order. A block marked `ts no-run` (a signature, a fragment) is left out. */
export function readmeExamples(packageFolder: string): ReadmeExample[] {
  const readme = readFileSync(join(packageFolder, 'README.md'), 'utf8');
  return [...readme.matchAll(/^```ts(?: (.+))?\n([\s\S]*?)^```/gm)]
    .map(([, label, code], index) => ({ name: label?.trim() ?? String(index + 1), code: code ?? '' }))
    .filter((example) => example.name !== 'no-run');
}

/**
 * Runs an example as a module of the package it documents, so that it imports the package by its own name, and returns
 * what it exports. An example checks itself: it throws when what it shows is not so.
 */
export async function runReadmeExample(
  packageFolder: string,
  example: ReadmeExample,
): Promise<Record<string, unknown>> {
  const folder = join(packageFolder, 'test', `.readme-${process.pid}-${++runs}`);
  mkdirSync(folder);
  try {
    const file = join(folder, 'example.ts');
    writeFileSync(file, example.code);
    return await import(/* @vite-ignore */ pathToFileURL(file).href);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

let runs = 0;
