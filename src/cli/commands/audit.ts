import { readFileSync, statSync } from 'node:fs';
import type { ProductId } from '../../audit/evidence.js';
import { auditHost } from '../../audit/host-audit.js';
import { renderAudit } from '../../audit/render.js';
import { Tree } from '../../audit/tree.js';
import { err, ok, type Result } from '../../base/result.js';
import { advise } from '../../shield/advice.js';
import type { ProductName } from '../../shield/product.js';
import { complain, print } from '../output.js';

const NAMES: Readonly<Partial<Record<ProductId, ProductName>>> = {
  sendmail: 'sendmail',
  postfix: 'Postfix',
  exim: 'Exim',
  qmail: 'qmail',
  opensmtpd: 'OpenSMTPD',
  courier: 'Courier',
  exchange: 'Exchange',
};

/** Debian's `1:4.96-15+deb12u4` is 4.96; a vendor may have mended a hole under the old number. */
const known = (product: ProductId, version: string): readonly string[] => {
  const name = NAMES[product];
  const number = /^(?:\d+:)?(\d[\d.]*)/.exec(version)?.[1];
  if (name === undefined || number === undefined) return [];
  const { holes, upgradeTo } = advise({ name, version: number });
  if (holes.length === 0) return [];
  const patched = /[-+~]/.test(version) ? ' by its number; whoever packaged it may have mended some' : '';
  return [
    `${holes.length} known hole${holes.length === 1 ? '' : 's'}${patched}${upgradeTo === undefined ? '' : `; mended in ${upgradeTo}`}:`,
    ...holes.map(({ cve, id, what }) => `  ${cve[0] ?? id}: ${what}`),
  ];
};

interface Options {
  readonly root?: string;
  readonly ps?: string;
  readonly sockets?: string;
  readonly json?: boolean;
}

const read = (flag: string, file: string | undefined): Result<string | undefined, string> => {
  if (file === undefined) return ok(undefined);
  try {
    return ok(readFileSync(file, 'latin1'));
  } catch (error) {
    return err(`${flag} ${file}: ${(error as Error).message}`);
  }
};

const isFolder = (folder: string): boolean =>
  statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;

export const audit = (options: Options): void => {
  const root = options.root ?? '/';
  if (!isFolder(root)) return complain([`--root ${root}: no such folder`], 2);
  const ps = read('--ps', options.ps);
  if (!ps.ok) return complain([ps.error], 2);
  const sockets = read('--sockets', options.sockets);
  if (!sockets.ok) return complain([sockets.error], 2);
  const found = auditHost(new Tree(root), {
    live: options.root === undefined && process.platform === 'linux',
    known,
    ...(ps.value === undefined ? {} : { ps: ps.value }),
    ...(sockets.value === undefined ? {} : { sockets: sockets.value }),
  });
  print(options.json === true ? JSON.stringify(found, null, 2) : renderAudit(found));
  if (found.findings.some(({ alarming }) => alarming)) process.exitCode = 1;
};
