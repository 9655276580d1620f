// Checks the package in the current folder as its users get it: packs it, lints the tarball (publint, attw), installs it
// alone with npm into an empty folder, type-checks the first example of its README there, and runs it.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const bin = (name) => join(root, 'node_modules/.bin', name);
const manifest = JSON.parse(readFileSync('package.json', 'utf8'));
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'check-package-')));

function run(command, args, cwd) {
  try {
    execFileSync(command, args, { cwd, stdio: 'pipe', encoding: 'utf8' });
  } catch (error) {
    console.error(
      `${manifest.name}: ${command.split('/').pop()} ${args.join(' ')} failed\n${error.stdout}${error.stderr}`,
    );
    throw error;
  }
}

try {
  run('pnpm', ['pack', '--pack-destination', folder]);
  const tarball = join(
    folder,
    readdirSync(folder).find((name) => name.endsWith('.tgz')),
  );
  run(bin('publint'), ['run', tarball, '--strict']);
  run(bin('attw'), [tarball, '--profile', 'esm-only']);

  const readme = readFileSync('README.md', 'utf8');
  const example = /^```ts(?! no-run)[^\n]*\n([\s\S]*?)^```/m.exec(readme)?.[1];
  if (example === undefined) throw new Error(`${manifest.name}: README.md has no \`\`\`ts example`);

  const consumer = join(folder, 'consumer');
  const peers = readmePeers(readme);
  const nodeTypes = `@types/node@${JSON.parse(readFileSync(join(root, 'node_modules/@types/node/package.json'), 'utf8')).version}`;
  execFileSync('mkdir', [consumer]);
  writeFileSync(join(consumer, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  writeFileSync(join(consumer, 'example.ts'), example);
  writeFileSync(
    join(consumer, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        module: 'nodenext',
        target: 'es2023',
        lib: ['es2023', 'esnext.disposable'],
        types: ['node'],
        strict: true,
        exactOptionalPropertyTypes: true,
        skipLibCheck: false,
        outDir: 'out',
      },
      include: ['example.ts'],
    }),
  );
  run(
    'npm',
    ['install', '--no-audit', '--no-fund', '--prefer-offline', '--no-package-lock', tarball, nodeTypes, ...peers],
    consumer,
  );
  run(bin('tsc'), ['-p', 'tsconfig.json'], consumer);
  run(process.execPath, ['out/example.js'], consumer);
  console.log(
    `${manifest.name}: tarball lints, installs alone${peers.length > 0 ? ` (with ${peers.join(', ')})` : ''}, type-checks, and its README example runs`,
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** The peers that the README's first `npm install` line names beside the package: what a user of the first example installs. */
function readmePeers(text) {
  const install = /^npm install (.+)$/m.exec(text)?.[1];
  if (install === undefined)
    throw new Error(`${manifest.name}: README.md has no line "npm install ${manifest.name} …"`);
  return install
    .split(' ')
    .filter((name) => name !== manifest.name)
    .map((name) => `${name}@${manifest.peerDependencies?.[name] ?? manifest.dependencies?.[name] ?? 'latest'}`);
}
