/** The house plan as a test: imports go down only, and each library has its room. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';

const SRC = path.resolve(import.meta.dirname ?? 'test', '..', 'src');

/** What a room may import: other rooms, packages, `node:*` or single builtins. */
const TABLE: Readonly<Record<string, readonly string[]>> = {
  base: [],
  smtp: ['base'],
  policy: ['base', 'smtp', 'zod', 'yaml'],
  shield: ['base', 'smtp'],
  demo: ['base', 'node:*'],
  proxy: ['base', 'smtp', 'policy', 'shield', 'node:*'],
  app: ['base', 'smtp', 'policy', 'shield', 'proxy', 'node:*', 'zod', 'pino'],
  cli: ['app', 'base', 'smtp', 'policy', 'proxy', 'demo', 'node:*', 'commander'],
};

/** Single files that may do more than their room. */
const EXCEPTIONS: Readonly<Record<string, readonly string[]>> = {
  'base/ip.ts': ['ip-cidr'],
  'base/idn.ts': ['tr46'],
};

/** Of smtp, the policy sees addresses and their readings, replies and nothing else. */
const POLICY_SEES = /^smtp\/(?:address|path|routes|hazard|reply|domain|describe-address)\.js$/;

const IMPORT =
  /^import\s[^;]*?\bfrom\s+'([^']+)'|^import\s+'([^']+)'|^export\s+(?:type\s+)?(?:\{[^}]*\}|\*(?:\s+as\s+\w+)?)\s+from\s+'([^']+)'|\bimport\(\s*'([^']+)'/gm;

const importsOf = (text: string): string[] =>
  [...text.matchAll(IMPORT)].map((match) => match.slice(1).find((each) => each !== undefined) ?? '');

/** What is wrong with a file's imports. */
const faultsOf = (file: string, text: string): string[] => {
  const room = file.split('/')[0] ?? '';
  const allowed = [...(TABLE[room] ?? []), ...(EXCEPTIONS[file] ?? [])];
  return importsOf(text).flatMap((target) => {
    if (!target.startsWith('.')) {
      const fits = allowed.includes(target) || (target.startsWith('node:') && allowed.includes('node:*'));
      return fits ? [] : [`${file} imports ${target}`];
    }
    const resolved = path.posix.normalize(path.posix.join(path.posix.dirname(file), target));
    const other = resolved.split('/')[0] ?? '';
    if (other === room) return [];
    if (!allowed.includes(other)) return [`${file} imports ${resolved}`];
    return room === 'policy' && other === 'smtp' && !POLICY_SEES.test(resolved)
      ? [`${file} imports ${resolved}`]
      : [];
  });
};

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .map((file) => file.replaceAll(path.sep, '/'))
  .filter((file) => file.endsWith('.ts'));

t.test('imports go down only', async (t) => {
  t.ok(files.length > 50, 'the sources were found');
  for (const file of files) {
    t.ok(TABLE[file.split('/')[0] ?? ''], `${file} lies in a room of the plan`);
    t.strictSame(faultsOf(file, readFileSync(path.join(SRC, file), 'utf8')), [], file);
  }
});

t.test('the session machine and the pure rooms know no clock and no chance', async (t) => {
  for (const file of files.filter((each) => /^(?:smtp|policy|shield)\//.test(each))) {
    const text = readFileSync(path.join(SRC, file), 'utf8');
    t.notMatch(
      text,
      /\bDate\.now\b|\bnew Date\(\)|\bMath\.random\b|\bsetTimeout\b|\bprocess\.\w|\bconsole\./,
      file,
    );
  }
});

t.test('no file is a novel', async (t) => {
  for (const file of files) {
    const lines = readFileSync(path.join(SRC, file), 'utf8').split('\n').length;
    t.ok(lines <= 450, `${file}: ${lines} lines`);
  }
});

t.test('the check can fail', async (t) => {
  t.strictSame(faultsOf('smtp/x.ts', "import net from 'node:net';"), ['smtp/x.ts imports node:net']);
  t.strictSame(faultsOf('smtp/x.ts', "import { a } from '../policy/decide.js';"), [
    'smtp/x.ts imports policy/decide.js',
  ]);
  t.strictSame(faultsOf('smtp/session/x.ts', "import type {\n  A,\n} from '../../proxy/pool.js';"), [
    'smtp/session/x.ts imports proxy/pool.js',
  ]);
  t.strictSame(faultsOf('policy/x.ts', "export { step } from '../smtp/session/machine.js';"), [
    'policy/x.ts imports smtp/session/machine.js',
  ]);
  t.strictSame(faultsOf('proxy/x.ts', "await import('ip-cidr');"), ['proxy/x.ts imports ip-cidr']);
  t.strictSame(faultsOf('proxy/x.ts', "import '../app/log.js';"), ['proxy/x.ts imports app/log.js']);
});
