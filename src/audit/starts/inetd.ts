/** inetd and xinetd: a line, or a block, for `smtp` starts a server for each connection. */
import type { ProductId, StartSeen } from '../evidence.js';
import { productOfCommand } from '../products.js';
import type { Tree } from '../tree.js';
import { editFile, restoreFile } from './shell.js';

const SERVICES = /^(?:smtp|smtps|ssmtp|submission|submissions|25|465|587)$/;

/** inetd reads its file again. */
const HANG_UP = "kill -HUP `ps -e | awk '/inetd/ {print $1; exit}'`";

/** Whose program stands in a line: `/usr/sbin/tcpd in.smtpd`, `sendmail -bs`, `/var/qmail/bin/tcp-env qmail-smtpd`. */
const productIn = (words: readonly string[]): ProductId => {
  for (let i = 0; i < words.length; i += 1) {
    const found = productOfCommand(words.slice(i).join(' '));
    if (found !== undefined && found.id !== 'unknown') return found.id;
  }
  return 'unknown';
};

export const inetdStarts = (tree: Tree): StartSeen[] =>
  ['/etc/inetd.conf', '/etc/inet/inetd.conf']
    // Solaris has both, one a link to the other.
    .filter((file) => tree.link(file) === undefined)
    .flatMap((file) =>
      tree.lines(file).flatMap((line, index): StartSeen[] => {
        const match = /^\s*(#[#\s]*)?([\w.:-]+)\s+stream\s+\S*tcp\S*\s+\S+\s+\S+\s+(\S.*)$/.exec(line);
        const service = (match?.[2] ?? '').replace(/^.*:/, '');
        if (match === null || !SERVICES.test(service)) return [];
        const off = match[1] !== undefined;
        const nth = index + 1;
        return [
          {
            kind: 'start',
            product: productIn((match[3] ?? '').split(/\s+/)),
            where: `${file}:${nth}`,
            text: line.trim(),
            by: 'inetd',
            on: off ? 'no' : 'yes',
            reach: /^\s*(?:127\.\d+\.\d+\.\d+|localhost|::1):/.test(line) ? 'loopback' : 'world',
            remedy: {
              stop: ['# nothing stays running between two connections; "keep" ends it'],
              keep: [...editFile(file, `${nth}s/^/#/`), HANG_UP],
              undo: [...restoreFile(file), HANG_UP],
            },
          },
        ];
      }),
    );

const setting = (block: string, key: string): string | undefined =>
  block
    .split('\n')
    .map((line) => new RegExp(`^\\s*${key}\\s*\\+?=\\s*(.*?)\\s*$`).exec(line)?.[1])
    .find((value) => value !== undefined);

export const xinetdStarts = (tree: Tree): StartSeen[] =>
  ['/etc/xinetd.conf', ...tree.list('/etc/xinetd.d').map((name) => `/etc/xinetd.d/${name}`)].flatMap(
    (file) => {
      const text = tree.text(file) ?? '';
      return [...text.matchAll(/^[ \t]*service[ \t]+(\S+)\s*\{([^}]*)\}/gm)].flatMap((match): StartSeen[] => {
        const [, service = '', block = ''] = match;
        const port = setting(block, 'port');
        if (!SERVICES.test(service) && !(port !== undefined && SERVICES.test(port))) return [];
        const line = text.slice(0, match.index).split('\n').length;
        const off = setting(block, 'disable')?.toLowerCase() === 'yes';
        const bound = setting(block, 'bind') ?? setting(block, 'interface') ?? '';
        return [
          {
            kind: 'start',
            product: productIn(
              `${setting(block, 'server') ?? ''} ${setting(block, 'server_args') ?? ''}`.trim().split(/\s+/),
            ),
            where: `${file}:${line}`,
            text: `service ${service}, disable = ${off ? 'yes' : 'no'}`,
            by: 'xinetd',
            on: off ? 'no' : 'yes',
            reach: /^(?:127\.|localhost$|::1$)/.test(bound) ? 'loopback' : 'world',
            remedy: {
              stop: ['# nothing stays running between two connections; "keep" ends it'],
              keep: [
                `# in ${file}, line ${line}: set "disable = yes" in the block of ${service}`,
                '/etc/init.d/xinetd reload',
              ],
              undo: [`# in ${file}, line ${line}: set "disable = no" again`, '/etc/init.d/xinetd reload'],
            },
          },
        ];
      });
    },
  );
