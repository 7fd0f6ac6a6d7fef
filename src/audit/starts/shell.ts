/** Daemons started by lines of shell scripts: rc.local, rc, inittab, run scripts. */
import type { ProductId, Reach, Remedy, StartSeen } from '../evidence.js';
import { productOfCommand } from '../products.js';
import type { Tree } from '../tree.js';

const KEYWORDS = /^(?:then|do|else|elif|if|exec|nohup|nice|env|\{|!|[A-Za-z_]\w*=\S*)\s+/;

export interface ShellCommand {
  /** From 1. */
  readonly line: number;
  readonly text: string;
  readonly product: ProductId;
  readonly listens: boolean;
  /** The line is a comment, or an argument of `:`: what would start if somebody took the mark away. */
  readonly off: boolean;
}

/** The simple commands of a line, without what parts them and without keywords before them. */
const commandsOf = (line: string): string[] =>
  line
    // What is quoted is said, not run.
    .replace(/"[^"]*"|'[^']*'/g, '""')
    .split(/;|&&|\|\||&|\||\(|\)|`|\bthen\b|\bdo\b|\belse\b/)
    .map((part) => {
      let text = part.trim();
      for (let cut = text.replace(KEYWORDS, ''); cut !== text; cut = text.replace(KEYWORDS, '')) text = cut;
      return text.replace(/\s+(?:\d?>+|<)\s*\S+/g, '').trim();
    })
    .filter((text) => text !== '');

/** Arguments with which a mail server's program is no daemon: it mails a text, shows a queue, rebuilds aliases. */
const SHORT_LIVED = /\s-(?:bi|bp|bs|bt|bv|t|I)\b/;

export const shellCommands = (text: string): ShellCommand[] =>
  text.split('\n').flatMap((raw, index) => {
    const comment = /^\s*#+\s*(?=\S*\/)/.exec(raw);
    const body = comment === null ? raw.replace(/(?:^|\s)#.*$/, '') : raw.slice(comment[0].length);
    return commandsOf(body).flatMap((whole): ShellCommand[] => {
      const command = whole.replace(/^:\s+/, '');
      const found = productOfCommand(command);
      if (found === undefined || SHORT_LIVED.test(command)) return [];
      return [
        {
          line: index + 1,
          text: raw.trim(),
          product: found.id,
          listens: found.listens,
          off: comment !== null || command !== whole,
        },
      ];
    });
  });

export const reachOfCommand = (listens: boolean): Reach => (listens ? 'unknown' : 'nobody');

/** Commands that change a file by `sed`, keeping what it was beside it; several edits of one file share that. */
export const editFile = (file: string, edit: string, before = `${file}.before-sekisho`): string[] => [
  `cp -p ${file} ${before}`,
  `sed '${edit}' ${file} > ${before}.new`,
  `cat ${before}.new > ${file}`,
  `rm ${before}.new`,
];

export const restoreFile = (file: string, before = `${file}.before-sekisho`): string[] => [
  `cp -p ${before} ${file}`,
];

/** The program's name becomes an argument of `:`, so the script stays one, `then … fi` included. */
const lineRemedy = (file: string, line: number, product: ProductId, pidFile: string): Remedy => {
  const program = product === 'opensmtpd' ? 'smtpd' : product === 'unknown' ? '' : product;
  return {
    stop: [`kill \`head -1 ${pidFile}\`   # or: ps ax | grep ${program}, then kill its number`],
    keep: editFile(file, `${line}s,[^ \t(;&]*/[a-z]*${program}[0-9]* ,: &,`),
    undo: [...restoreFile(file), `# and start it again as line ${line} does`],
  };
};

/** Start lines in the scripts at `files`. */
export const startsOfScripts = (
  tree: Tree,
  files: readonly string[],
  by: string,
  pidFile = '/etc/sendmail.pid',
): StartSeen[] =>
  files.flatMap((file) =>
    shellCommands(tree.text(file) ?? '').map(
      (found): StartSeen => ({
        kind: 'start',
        product: found.product,
        where: `${file}:${found.line}`,
        text: found.text,
        by,
        on: found.off ? 'no' : 'yes',
        reach: reachOfCommand(found.listens),
        remedy: lineRemedy(file, found.line, found.product, pidFile),
      }),
    ),
  );
