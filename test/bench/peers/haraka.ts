import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { freePort } from '../../support/packages.js';
import { launch, type Running, scratch } from './running.js';

const VERSION = '3.3.4';

/** From npm into a folder of the benchmark's own, without what it can do without, and without running its scripts. */
const installed = (): string => {
  const root = path.join(os.tmpdir(), 'sekisho-bench', `haraka-${VERSION}`);
  if (existsSync(root)) return root;
  const draft = `${root}.${process.pid}`;
  mkdirSync(draft, { recursive: true });
  const flags = ['--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund', '--silent'];
  try {
    execFileSync('npm', ['install', '--prefix', draft, ...flags, `Haraka@${VERSION}`], { stdio: 'pipe' });
    renameSync(draft, root);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  return root;
};

/** It would ask the DNS for each client's name: there is none for loopback, and waiting for that is not its work. */
const NAMES = `exports.register = function () { this.register_hook('lookup_rdns', 'known') }
exports.known = (next) => next(OK, 'client.example')
`;

/** Haraka with one process: recipients by domain, messages passed on to the mail server before they are answered. */
export const haraka = async (target: number): Promise<Running> => {
  const root = installed();
  const [dir, port] = [scratch(), await freePort()];
  for (const each of ['config', 'plugins']) mkdirSync(path.join(dir, each));
  // It has no built-in defaults for what is in there.
  const home = path.join(root, 'node_modules', 'Haraka');
  copyFileSync(path.join(home, 'config', 'connection.ini'), path.join(dir, 'config', 'connection.ini'));
  writeFileSync(path.join(dir, 'plugins', 'names.js'), NAMES);
  const files: Readonly<Record<string, string>> = {
    'smtp.ini': `listen=127.0.0.1:${port}\nnodes=0\n`,
    plugins: 'names\nrcpt_to.in_host_list\nqueue/smtp_proxy\n',
    host_list: 'local.example\n',
    me: 'haraka.example\n',
    'smtp_proxy.ini': `host=127.0.0.1\nport=${target}\nenable_outbound=false\n`,
    databytes: '100000000\n',
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(dir, 'config', name), text);
  const program = path.join(home, 'bin', 'haraka');
  return launch({ port, command: [process.execPath, program, '-c', dir], dir });
};
