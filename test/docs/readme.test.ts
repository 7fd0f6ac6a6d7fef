/** What the documents show is what happens. */
import { readFileSync, renameSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { ConfigSchema } from '../../src/app/config-schema.js';
import { certify } from '../support/certificates.js';
import { folder, runSekisho } from '../support/process.js';

const readme = readFileSync('README.md', 'utf8');
const japanese = readFileSync('README.ja.md', 'utf8');

const between = (mark: string): string =>
  new RegExp(`<!-- ${mark}:start -->\\n\`\`\`\\w+\\n([\\s\\S]*?)\`\`\`\\n<!-- ${mark}:end -->`).exec(
    readme,
  )?.[1] ?? '';

/** The arguments of a shown command line, quotes taken off. */
const words = (line: string): string[] =>
  [...line.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(
    ([, single, double, bare]) => single ?? double ?? bare ?? '',
  );

/** Shown `sekisho …` commands, continued lines joined. */
const commands = (text: string): string[] =>
  [...text.matchAll(/```sh\n([\s\S]*?)```/g)]
    .flatMap(([, block = '']) => block.replace(/\\\n\s*/g, '').split('\n'))
    .map((line) => line.trim())
    .filter((line) => line.startsWith('sekisho '));

t.test('the transcript is what the demo shows', async (t) => {
  const shown = between('transcript').trim().split('\n');
  t.ok(shown.length > 8, 'there is a transcript');
  const { out } = await runSekisho(['demo', '--once']);
  const said = out.split('\n').map((line) => line.trim());
  const from = said.lastIndexOf(shown[0] ?? '');
  t.ok(from >= 0, 'it is there');
  t.same(
    said.slice(from).filter((line) => /^[CS]:/.test(line)),
    shown.map((line) => line.trim()),
  );
});

t.test('the policy is the one that ships', async (t) => {
  t.equal(between('policy').trimEnd(), readFileSync('policies/campus.yaml', 'utf8').trimEnd());
});

t.test('the configuration for submission loads as shown', async (t) => {
  const dir = folder(t, {
    'sekisho.yaml': between('submission'),
    users: 'hoge@example.org:{PLAIN}secret\n',
    'policy.yaml': 'version: 1\nrules:\n  - { name: roaming, allow: { login: any, tls: true } }\n',
  });
  const { cert, key } = certify(dir, 'mail.example.org');
  renameSync(cert, path.join(dir, 'cert.pem'));
  renameSync(key, path.join(dir, 'key.pem'));
  const { code, err } = await runSekisho(['check', '--config', path.join(dir, 'sekisho.yaml')]);
  t.equal(code, 0, err);
});

t.test('the commands work as shown', async (t) => {
  const shown = [...new Set([...commands(readme), ...commands(japanese)])];
  t.ok(shown.length >= 3, `${shown.length} commands`);
  const users = path.join(folder(t), 'users');
  for (const line of shown) {
    const [, ...args] = words(line);
    if (args[0] === 'serve') {
      // Its ports are an administrator's: the flags are checked by explain, which reads the same ones.
      const flags = args.flatMap((word, i) =>
        /^--(?:local-domain|trust|policy)$/.test(word) ? [word, args[i + 1] ?? ''] : [],
      );
      const probe = ['--client', '203.0.113.9', '--from', 'x@spam.example', '--to', 'y@victim.example'];
      const { code, out, err } = await runSekisho(['explain', ...flags, ...probe]);
      t.equal(code, 0, `${line}: ${err}`);
      t.match(out, /=> deny/);
    } else {
      // What stands in for the site's own file, and for what is typed at the prompt.
      const own = args.map((word) => (word === '/etc/sekisho/users' ? users : word));
      const { code, err } = await runSekisho(own, undefined, 'Correct-Horse-7\n');
      // Whether this host has a mail server is not the document's business.
      t.ok(code === 0 || (code === 1 && args[0] === 'audit'), `${line}: ${err}`);
    }
  }
});

t.test('links lead somewhere, and every flag and key has its line', async (t) => {
  for (const text of [readme, japanese]) {
    for (const [, target = ''] of text.matchAll(/\]\((?!https?:)([^)#]+)\)/g)) {
      t.doesNotThrow(() => readFileSync(target.endsWith('/') ? `${target}campus.yaml` : target), target);
    }
  }
  const help = (await runSekisho(['serve', '--help'])).out;
  for (const [flag] of help.matchAll(/--[a-z-]+/g)) {
    if (flag !== '--help') t.ok(readme.includes(`\`${flag}`), `${flag} is in the reference`);
  }
  const example = readFileSync('deploy/sekisho.yaml', 'utf8');
  for (const key of Object.keys(ConfigSchema.shape))
    t.match(example, new RegExp(`^#? ?${key}:`, 'm'), `${key} is in the example`);
});
