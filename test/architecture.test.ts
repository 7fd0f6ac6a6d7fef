/** The house plan as a test: imports go down only, and each library has its room. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';

const SRC = path.resolve(import.meta.dirname ?? 'test', '..', 'src');

/** What a room may import: other rooms, packages, `node:*` or single builtins. */
const TABLE: Readonly<Record<string, readonly string[]>> = {
  base: [],
  smtp: ['base'],
  // windows: pure, the words by which a policy names their sources.
  policy: ['base', 'smtp', 'windows', 'zod', 'yaml'],
  shield: ['base', 'smtp'],
  demo: ['base', 'node:*'],
  'identity/sasl': ['identity', 'base', 'node:crypto'],
  'identity/stores': ['identity', 'identity/sasl', 'base', 'smtp', 'node:*', 'ldapts', 'jose'],
  identity: ['identity/sasl', 'windows', 'base', 'node:*'],
  'windows/stores': ['windows', 'base', 'node:*', 'rate-limiter-flexible'],
  // What Linux can do and Node has no word for.
  host: ['base', 'node:*'],
  // What stands before a session of any protocol: listening, limits on connections, DNS lists.
  door: ['base', 'windows', 'host', 'node:*'],
  'windows/sources': ['windows', 'identity', 'base', 'door', 'node:*'],
  windows: ['base'],
  audit: ['base', 'smtp', 'node:*'],
  proxy: ['base', 'smtp', 'policy', 'shield', 'identity', 'windows', 'door', 'host', 'node:*'],
  // identity: suspensions are marks in the state store, and have their rules there.
  admin: [
    ...['base', 'smtp', 'policy', 'identity', 'windows', 'node:*', 'zod'],
    ...['fastify', '@fastify/ajv-compiler', '@fastify/rate-limit', '@fastify/swagger', 'prom-client'],
  ],
  app: [
    ...['admin', 'base', 'smtp', 'policy', 'shield', 'proxy', 'identity', 'identity/sasl', 'identity/stores'],
    ...['windows', 'windows/stores', 'windows/sources', 'door', 'host', 'node:*', 'zod', 'pino'],
  ],
  // An examination of the whole: it sees what was set up, and asks the rest by their own doors.
  doctor: ['app', 'audit', 'base', 'smtp', 'proxy', 'door', 'node:*', 'zod'],
  // identity/stores: what a file of users keeps of a password, for the commands that write one.
  cli: [
    'app',
    'doctor',
    'audit',
    'base',
    'smtp',
    'policy',
    'shield',
    'proxy',
    'identity',
    'identity/stores',
    'windows',
    'demo',
    'host',
    'node:*',
    'commander',
  ],
};

/** The room in which a file lies: a room of its own within another, or the top folder. */
const roomOf = (file: string): string => {
  const [first = '', second = ''] = file.split('/');
  return TABLE[`${first}/${second}`] === undefined ? first : `${first}/${second}`;
};

/** Single files that may do more than their room. */
const EXCEPTIONS: Readonly<Record<string, readonly string[]>> = {
  'windows/stores/lmdb-change.ts': ['lmdb'],
  'windows/stores/lmdb-env.ts': ['lmdb'],
  'windows/stores/lmdb-marks.ts': ['lmdb'],
  'windows/stores/lmdb-windows.ts': ['lmdb'],
  'windows/stores/redis-client.ts': ['ioredis'],
  'host/libc.ts': ['koffi'],
  // The endpoint of several processes answers before the routes of one would: types of requests and replies.
  'app/fleet/endpoint.ts': ['fastify'],
  'base/ip.ts': ['ip-cidr'],
  'base/idn.ts': ['tr46'],
  'identity/sasl/saslprep.ts': ['saslprep'],
  'identity/stores/crypt.ts': ['bcryptjs', 'unix-crypt-td-js'],
  'identity/stores/password-check.ts': ['@node-rs/argon2'],
  'windows/sources/log-site-pattern.ts': ['re2js'],
  'identity/stores/make-secret.ts': ['@node-rs/argon2', 'bcryptjs'],
};

/** Of smtp, the policy sees addresses and their readings, replies, for its self-test command lines, and nothing else. */
const POLICY_SEES = /^smtp\/(?:command|address|path|routes|hazard|reply|domain|describe-address)\.js$/;

const IMPORT =
  /^import\s[^;]*?\bfrom\s+'([^']+)'|^import\s+'([^']+)'|^export\s+(?:type\s+)?(?:\{[^}]*\}|\*(?:\s+as\s+\w+)?)\s+from\s+'([^']+)'|\bimport\(\s*'([^']+)'/gm;

const importsOf = (text: string): string[] =>
  [...text.matchAll(IMPORT)].map((match) => match.slice(1).find((each) => each !== undefined) ?? '');

/** What is wrong with a file's imports. */
const faultsOf = (file: string, text: string): string[] => {
  const room = roomOf(file);
  const allowed = [...(TABLE[room] ?? []), ...(EXCEPTIONS[file] ?? [])];
  return importsOf(text).flatMap((target) => {
    if (!target.startsWith('.')) {
      const fits = allowed.includes(target) || (target.startsWith('node:') && allowed.includes('node:*'));
      return fits ? [] : [`${file} imports ${target}`];
    }
    const resolved = path.posix.normalize(path.posix.join(path.posix.dirname(file), target));
    const other = roomOf(resolved);
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
    t.ok(TABLE[roomOf(file)], `${file} lies in a room of the plan`);
    t.strictSame(faultsOf(file, readFileSync(path.join(SRC, file), 'utf8')), [], file);
  }
});

t.test('the session machine and the pure rooms know no clock and no chance', async (t) => {
  for (const file of files.filter((each) =>
    /^(?:smtp|policy|shield|identity\/sasl)\/|^windows\/[^/]+$/.test(each),
  )) {
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
