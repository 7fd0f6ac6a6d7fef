// Makes a Debian package of what is built: npm run deb -- [--with-node] [--out DIR] [--fast]
// --with-node puts the Node that runs this into it, for releases whose own is too old; --fast does not compress.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { values } = parseArgs({
  options: {
    'with-node': { type: 'boolean', default: false },
    fast: { type: 'boolean', default: false },
    out: { type: 'string', default: join(root, 'dist-deb') },
  },
});
const { version, description } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));

const run = (file, args) => {
  const { status, stdout, stderr, error } = spawnSync(file, args, { encoding: 'utf8' });
  if (status === 0) return stdout.trim();
  console.error(`sekisho: ${file} ${args.join(' ')}: ${error?.message ?? stderr}`);
  process.exit(1);
};
const architecture = run('dpkg', ['--print-architecture']);

const stage = mkdtempSync(join(tmpdir(), 'sekisho-deb-'));
process.on('exit', () => rmSync(stage, { recursive: true, force: true }));
const at = (...parts) => {
  const place = join(stage, ...parts);
  mkdirSync(dirname(place), { recursive: true });
  return place;
};
const write = (place, text, mode = 0o644) => {
  writeFileSync(at(place), text);
  chmodSync(at(place), mode);
};
const from = (...parts) => readFileSync(join(root, ...parts), 'utf8');

// The program, and of its packages those that it runs with: maps, types and manuals are for those who build.
const needless = /\.(?:map|d\.[cm]?ts|md|markdown|tsbuildinfo)$|\/(?:\.bin|\.github)$/;
const kept = (file) => !needless.test(file);
const copy = (what) =>
  cpSync(join(root, what), at('usr/lib/sekisho', what), { recursive: true, dereference: true, filter: kept });
for (const what of ['dist', 'policies']) copy(what);
cpSync(join(root, 'package.json'), at('usr/lib/sekisho/package.json'));
for (const [name, { dev, devOptional }] of Object.entries(lock.packages)) {
  if (name === '' || dev === true || devOptional === true || !existsSync(join(root, name))) continue;
  if (/\/node_modules\//.test(name)) continue;
  copy(name);
}

const node = values['with-node'] ? '/usr/lib/sekisho/node' : '/usr/bin/node';
if (values['with-node']) {
  cpSync(realpathSync(process.execPath), at('usr/lib/sekisho/node'));
  chmodSync(at('usr/lib/sekisho/node'), 0o755);
}
write('usr/bin/sekisho', `#!/bin/sh\nexec ${node} /usr/lib/sekisho/dist/cli/main.js "$@"\n`, 0o755);

for (const unit of ['sekisho.service', 'sekisho.socket']) {
  const text = from('deploy/systemd', unit)
    .replaceAll('/usr/local/bin/sekisho', '/usr/bin/sekisho')
    // How to install it is done.
    .replace(/^(?:#.*\n)+(?=\[Unit\])/, '# The package keeps this file: changes go into `systemctl edit`.\n');
  write(`usr/lib/systemd/system/${unit}`, text);
}
for (const file of ['sekisho.yaml', 'policy.yaml']) write(`etc/sekisho/${file}`, from('deploy/debian', file));

const doc = 'usr/share/doc/sekisho';
for (const file of ['README.md', 'README.ja.md', 'SECURITY.md']) write(`${doc}/${file}`, from(file));
write(`${doc}/README.deploy.md`, from('deploy/README.md'));
write(`${doc}/examples/sekisho.yaml`, from('deploy/sekisho.yaml'));
for (const folder of ['prometheus', 'grafana', 'fail2ban', 'systemd'])
  cpSync(join(root, 'deploy', folder), at(doc, 'examples', folder), { recursive: true });
write(`${doc}/changelog.gz`, gzipSync(from('CHANGELOG.md'), { level: 9 }));
write(
  `${doc}/copyright`,
  `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: sekisho

Files: *
Copyright: The authors of Sekisho
License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.
Comment: The packages below /usr/lib/sekisho/node_modules bear their own licences, each in its folder.
`,
);
write(
  'usr/share/man/man8/sekisho.8.gz',
  gzipSync(
    `.TH SEKISHO 8 "" "sekisho ${version}"
.SH NAME
sekisho \\- SMTP relay\\-policy filter proxy
.SH SYNOPSIS
.B sekisho
.I COMMAND
[\\fIOPTIONS\\fR]
.SH DESCRIPTION
Stands in front of a mail server and closes its open relay.
.B sekisho \\-\\-help
lists the commands,
.B sekisho COMMAND \\-\\-help
their options.
.SH FILES
.TP
.I /etc/sekisho/sekisho.yaml
the configuration
.TP
.I /etc/sekisho/policy.yaml
what is local and who may relay
.TP
.I /var/lib/sekisho
windows, suspended logins and counts
.TP
.I /usr/share/doc/sekisho
how to put it in front of a mail server, and every option
.SH SIGNALS
SIGHUP reloads the policy and the certificates, SIGTERM drains, a second one stops.
.SH EXIT STATUS
0: done; 1: checks failed or nothing matched; 2: a fault in configuration, policy or command line.
`,
    { level: 9 },
  ),
);

// Folders and files are root's, readable by all, and nothing is executable but programs.
const files = [];
const tidy = (folder) => {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const place = join(folder, entry.name);
    if (entry.isDirectory()) {
      chmodSync(place, 0o755);
      tidy(place);
    } else {
      const program = /^usr\/(?:bin\/|lib\/sekisho\/node$)/.test(place.slice(stage.length + 1));
      chmodSync(place, program ? 0o755 : 0o644);
      files.push(place);
    }
  }
};
chmodSync(stage, 0o755);
tidy(stage);
const size = Math.ceil(files.reduce((sum, file) => sum + statSync(file).size, 0) / 1024);
const sums = files.map(
  (file) =>
    `${createHash('md5').update(readFileSync(file)).digest('hex')}  ${file.slice(stage.length + 1)}\n`,
);
const needs = values['with-node']
  ? 'libc6 (>= 2.28), libstdc++6, libgcc-s1'
  : 'nodejs (>= 20), libc6 (>= 2.31), libstdc++6';
write('DEBIAN/md5sums', sums.join(''));
write('DEBIAN/conffiles', '/etc/sekisho/policy.yaml\n/etc/sekisho/sekisho.yaml\n');
for (const script of ['postinst', 'prerm', 'postrm'])
  write(`DEBIAN/${script}`, from('deploy/debian', script), 0o755);
write(
  'DEBIAN/control',
  `Package: sekisho
Version: ${version}
Architecture: ${architecture}
Maintainer: The authors of Sekisho <sekisho@localhost>
Installed-Size: ${size}
Depends: adduser, ${needs}
Recommends: systemd
Suggests: nftables
Section: mail
Priority: optional
Description: ${description.split(':')[0]}
 Stands in front of a mail server that can no longer be patched and closes its
 open relay: every recipient is judged by client address, sender and
 recipient, whatever disguise an address wears.
 .
${
  values['with-node']
    ? ` This package bears Node.js ${process.versions.node} of its own.`
    : ' It needs Node.js 20 or later, as in Debian 13. For older releases there is a\n build of this package that bears its own: npm run deb -- --with-node.'
}
`,
);

mkdirSync(values.out, { recursive: true });
const made = resolve(values.out, `sekisho_${version}_${architecture}.deb`);
run('dpkg-deb', ['--root-owner-group', values.fast ? '-Znone' : '-Zxz', '--build', stage, made]);
console.log(made);
