/** Each tree is a host as its administrator left it; the commands that the audit gives are run in a copy of it. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import type { Audit, Finding } from '../../src/audit/evidence.js';
import { auditHost, type Sources } from '../../src/audit/host-audit.js';
import { Tree } from '../../src/audit/tree.js';
import { install, noPackages } from '../support/packages.js';
import { BUILT, runSekisho } from '../support/process.js';
import { prepareSendmail } from '../support/sendmail.js';

const TREES = path.join(import.meta.dirname ?? '', 'trees');

interface Fixture {
  readonly files: ReadonlyMap<string, string>;
  readonly links: ReadonlyMap<string, string>;
  readonly sections: ReadonlyMap<string, string>;
}

const readFixture = (name: string): Fixture => {
  const files = new Map<string, string>();
  const links = new Map<string, string>();
  const sections = new Map<string, string>();
  const text = readFileSync(path.join(TREES, name), 'latin1');
  for (const part of text.split(/^>>> /m).slice(1)) {
    const end = part.indexOf('\n');
    const title = part.slice(0, end);
    const body = part.slice(end + 1);
    const [from = '', to] = title.split(' -> ');
    if (to !== undefined) links.set(from, to);
    else if (title.startsWith('/')) files.set(title, body);
    else sections.set(title, body);
  }
  return { files, links, sections };
};

const grow = (t: Test, { files, links }: Fixture): string => {
  const root = t.testdir({});
  const at = (file: string): string => {
    const full = path.join(root, file);
    mkdirSync(path.dirname(full), { recursive: true });
    return full;
  };
  for (const [file, text] of files) writeFileSync(at(file), text, 'latin1');
  for (const [file, target] of links) symlinkSync(target, at(file));
  return root;
};

const summary = ({ product, version, runs, boots, reach, alarming }: Finding): string =>
  `${product} ${version ?? '-'} runs=${runs} boots=${boots} reach=${reach}${alarming ? ' alarm' : ''}`;

const summaries = (audit: Audit): string[] => audit.findings.map(summary).sort();

const COMMAND = /^(?:keep|stop|undo): /;

const lines = (text: string | undefined): string[] => (text ?? '').split('\n').filter((line) => line !== '');

/** Everything below a folder, as text, to see that "undo" takes all back. */
const snapshot = (root: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(root, { recursive: true, withFileTypes: true, encoding: 'utf8' })
      .filter((entry) => entry.isFile() && !entry.name.endsWith('.before-sekisho'))
      .map((entry) => {
        const file = path.join(entry.parentPath ?? entry.path, entry.name);
        return [path.relative(root, file), readFileSync(file, 'latin1')];
      }),
  );

/** Runs what edits files, with the tree for a root; what speaks to that host's own tools is another's. */
const apply = (t: Test, root: string, commands: readonly string[]): void => {
  for (const command of commands.filter((each) => /^(?:cp|sed|cat|mv|echo|touch|rm) /.test(each))) {
    const here = command.replace(/(^|[\s>'])(\/(?:etc|sbin|service|root)\/)/g, `$1${root}$2`);
    const { status, stderr } = spawnSync('sh', ['-c', here], { encoding: 'utf8' });
    t.equal(status, 0, `${command} ${stderr}`);
  }
};

/** Without root there is neither a package nor a namespace. */
const packages = (): { skip: string } | Record<string, never> => {
  const why = noPackages();
  return why === undefined ? {} : { skip: why };
};

const names = readdirSync(TREES).sort();

t.test('hosts of every system', async (t) => {
  t.ok(names.length >= 25);
  for (const name of names)
    t.test(name, async (t) => {
      const fixture = readFixture(name);
      const root = grow(t, fixture);
      const sources = (): Sources => ({
        live: false,
        ...(fixture.sections.has('ps') ? { ps: fixture.sections.get('ps') ?? '' } : {}),
        ...(fixture.sections.has('sockets') ? { sockets: fixture.sections.get('sockets') ?? '' } : {}),
      });
      const audit = auditHost(new Tree(root), sources());
      const [system, ...expected] = lines(fixture.sections.get('expect'));
      t.equal(audit.system, system);
      t.strictSame(summaries(audit), expected.filter((line) => !COMMAND.test(line)).sort());
      for (const line of expected.filter((each) => COMMAND.test(each))) {
        const [which = '', commands = ''] = line.split(/: (.*)/);
        const has = audit.findings.some(({ remedy }) =>
          remedy[which as 'keep'].join('; ').startsWith(commands),
        );
        t.ok(has, line);
      }
      for (const { alarming, remedy, title } of audit.findings.filter(({ alarming }) => alarming)) {
        t.ok(remedy.stop.length > 0 && remedy.keep.length > 0, `${title} can be stopped: ${alarming}`);
      }
      if (!fixture.sections.has('stopped')) return;
      const before = snapshot(root);
      const starting = audit.findings.filter(({ boots }) => boots === 'yes');
      for (const { remedy } of starting) apply(t, root, remedy.keep);
      t.strictSame(
        summaries(auditHost(new Tree(root), sources())),
        lines(fixture.sections.get('stopped')).sort(),
        'kept stopped',
      );
      for (const file of Object.keys(snapshot(root)).filter((each) => /rc\.(?:local|M)$/.test(each)))
        t.equal(spawnSync('sh', ['-n', path.join(root, file)]).status, 0, `${file} is still a script`);
      for (const { remedy } of starting) apply(t, root, remedy.undo);
      t.strictSame(snapshot(root), before, 'taken back');
    });
});

t.test('a copied tree is never left by its links', async (t) => {
  const secret = path.join(t.testdir({ outside: 'DZ6.6.6\n' }), 'outside');
  const root = path.join(t.testdir({ outside: 'DZ6.6.6\n', copy: { etc: { mail: {} }, loop: {} } }), 'copy');
  symlinkSync(secret, path.join(root, 'etc/mail/sendmail.cf'));
  symlinkSync('../../../../../../outside', path.join(root, 'etc/sendmail.cf'));
  symlinkSync('b', path.join(root, 'loop/a'));
  symlinkSync('a', path.join(root, 'loop/b'));
  const tree = new Tree(root);
  t.equal(tree.text('/etc/mail/sendmail.cf'), undefined, 'an absolute link');
  t.equal(tree.text('/etc/sendmail.cf'), undefined, 'dots beyond the root');
  t.equal(tree.text('/loop/a'), undefined, 'a circle');
  t.ok(tree.exists('/loop/a'), 'which is there all the same');
  t.equal(tree.link('/loop/a'), 'b');
  t.strictSame(tree.list('/loop'), ['a', 'b']);
  t.strictSame(tree.list('/etc/nothing'), []);
  t.equal(tree.text('/etc'), undefined, 'a folder is no text');
});

t.test('the command', async (t) => {
  const open = grow(t, readFixture('freebsd4.txt'));
  const found = await runSekisho(['audit', '--root', open]);
  t.equal(found.code, 1, 'a server that others can reach');
  t.match(
    found.out,
    /^! {2}sendmail 8\.11\.6: not known whether it runs, will start at the next boot; other hosts/m,
  );
  t.match(found.out, /\d+ known holes; mended in 8\.\d+.*:\n +CVE-/, 'what is known of the version');
  t.match(found.out, /what listens there: give the output of/);
  const parsed: unknown = JSON.parse((await runSekisho(['audit', '--root', open, '--json'])).out);
  t.match(parsed, { system: 'freebsd', findings: [{ product: 'sendmail', alarming: true }] });
  const closed = grow(t, readFixture('empty.txt'));
  const none = await runSekisho(['audit', '--root', closed]);
  t.equal(none.code, 0);
  t.match(none.out, /No mail server was found\./);
  t.match(await runSekisho(['audit', '--root', path.join(closed, 'nowhere')]), {
    code: 2,
    err: /--root .*nowhere: no such folder/,
  });
  t.match(await runSekisho(['audit', '--root', closed, '--ps', '/nonexistent']), { code: 2, err: /--ps/ });
});

const LIVE = `ip link set lo up
( $SENDMAIL ) & child=$!
for i in $(seq 100); do grep -q ":0019 .* 0A " /proc/net/tcp && break; sleep 0.2; done
"$NODE" "$SEKISHO" audit --json
kill $child`;

t.test('this host, with a real sendmail on port 25 of a network of its own', packages(), async (t) => {
  await install(['ip=iproute2']);
  const { dir, script, env } = await prepareSendmail(25);
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const inside = LIVE.replace('$SENDMAIL', script);
  const namespaces = ['--net', '--uts', '--pid', '--fork', '--mount-proc', '--kill-child'];
  const { stdout, stderr } = spawnSync('unshare', [...namespaces, 'sh', '-c', inside], {
    encoding: 'utf8',
    timeout: 300_000,
    env: { ...process.env, ...env, NODE: process.execPath, SEKISHO: BUILT },
  });
  const found: unknown = JSON.parse(stdout || JSON.stringify(stderr));
  t.match(found, {
    system: 'linux',
    findings: [
      {
        product: 'sendmail',
        runs: 'yes',
        reach: 'loopback',
        alarming: false,
        evidence: [
          { kind: 'process', text: /^sendmail: .*accepting connections/ },
          { kind: 'socket', address: '127.0.0.1', port: 25 },
        ],
        remedy: { stop: [/^kill \d+$/] },
      },
    ],
  });
});
