/** Mail servers among the processes: from /proc, or from what `ps` printed on a host that has none. */
import type { ProcessSeen } from './evidence.js';
import { productOfCommand } from './products.js';
import type { Tree } from './tree.js';

const seen = (pid: number | undefined, command: string): ProcessSeen[] => {
  const found = productOfCommand(command);
  if (found === undefined) return [];
  const where = pid === undefined ? 'a process' : `process ${pid}`;
  return [{ kind: 'process', product: found.id, where, text: command, pid, listens: found.listens }];
};

/** Control characters of a title become spaces; what a process says of itself must not paint the terminal. */
const plain = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trim();

/** Linux' /proc. A daemon that wrote a title over its arguments shows the title. */
export const processesOfProc = (tree: Tree): ProcessSeen[] =>
  tree
    .list('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => seen(Number(name), plain(tree.text(`/proc/${name}/cmdline`) ?? '')));

/** Where a column begins by its title, and which field it is. */
const columnOf = (head: string, title: RegExp): { at: number; field: number } | undefined => {
  const match = title.exec(head);
  if (match === null) return undefined;
  return { at: match.index, field: head.slice(0, match.index).split(/\s+/).filter(Boolean).length };
};

/** The output of `ps -ef`, `ps ax`, `ps aux` their like and Windows' `tasklist`, or bare command lines without a title line. */
export const processesOfPs = (text: string): ProcessSeen[] => {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '');
  const head = lines[0] ?? '';
  const command = columnOf(head, /\b(?:CMD|COMMAND|ARGS)\b/);
  if (command === undefined)
    return lines.flatMap((line) => {
      const task = /^(\S+\.exe)\s+(\d+)\s/i.exec(line);
      return task === null ? seen(undefined, plain(line)) : seen(Number(task[2]), task[1] ?? '');
    });
  const pid = columnOf(head, /\bPID\b/);
  return lines.slice(1).flatMap((line) => {
    const fields = line.trim().split(/\s+/);
    const number = pid === undefined ? undefined : Number(fields[pid.field]);
    const id = number !== undefined && Number.isSafeInteger(number) ? number : undefined;
    // By the column where it is aligned; by counting fields where a long name has pushed it aside.
    const byColumn = /\s/.test(line[command.at - 1] ?? ' ') ? line.slice(command.at) : '';
    const aligned = seen(id, plain(byColumn));
    return aligned.length > 0 ? aligned : seen(id, plain(fields.slice(command.field).join(' ')));
  });
};
