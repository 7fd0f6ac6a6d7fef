/** Who may change what Sekisho goes by, and who may read its secrets. */
import { readFileSync, type Stats, statSync } from 'node:fs';
import path from 'node:path';
import type { Setup } from '../app/config.js';
import { type Finding, finding } from './finding.js';

const OTHERS_WRITE = 0o002;
const OTHERS_READ = 0o004;
/** A folder in which everybody removes only what is his own, such as /tmp. */
const STICKY = 0o1000;

const statOf = (file: string): Stats | undefined => {
  try {
    return statSync(file);
  } catch {
    return undefined;
  }
};

/** Private keys, and files of users with hashed or plain passwords. */
const SECRET =
  /-----BEGIN [A-Z ]*PRIVATE KEY-----|^[^:\s#]+:(?:\{[A-Z0-9.-]+\}|\$(?:2[aby]|5|6|apr1|argon2))/m;

const holdsSecret = (file: string): boolean => {
  try {
    return SECRET.test(readFileSync(file, 'latin1'));
  } catch {
    return false;
  }
};

const quoted = (file: string): string =>
  /^[\w./@:+-]+$/.test(file) ? file : `'${file.replace(/'/g, `'\\''`)}'`;

const fileFindings = (file: string): readonly Finding[] => {
  const stat = statOf(file);
  if (stat === undefined) return [];
  const found: Finding[] = [];
  if ((stat.mode & OTHERS_WRITE) !== 0)
    found.push(
      finding('files', 'fault', `everybody on this host may change ${file}`, `chmod o-w ${quoted(file)}`),
    );
  if ((stat.mode & OTHERS_READ) !== 0 && holdsSecret(file))
    found.push(
      finding(
        'files',
        'warn',
        `everybody on this host may read the secrets in ${file}`,
        `chmod o= ${quoted(file)}; let it belong to the user that runs Sekisho, or to its group`,
      ),
    );
  return found;
};

/** Whoever may write to a folder may put another file in the place of the one that is read. */
const folderFindings = (folder: string, what: string, sticky: boolean): readonly Finding[] => {
  const stat = statOf(folder);
  if (stat === undefined || (stat.mode & OTHERS_WRITE) === 0) return [];
  if (sticky && (stat.mode & STICKY) !== 0) return [];
  return [
    finding(
      'files',
      'fault',
      `everybody on this host may write to ${folder}, ${what}`,
      `chmod o-w ${quoted(folder)}`,
    ),
  ];
};

export const filesFindings = ({ files, store }: Setup): readonly Finding[] => {
  const read = [...new Set(files.map((file) => path.resolve(file)))];
  const folders = [...new Set(read.map((file) => path.dirname(file)))];
  const found = [
    ...read.flatMap(fileFindings),
    ...folders.flatMap((folder) => folderFindings(folder, 'where a file lies that Sekisho reads', true)),
    ...(store.kind === 'lmdb'
      ? folderFindings(path.resolve(store.folder), 'where windows and suspensions are kept', false)
      : []),
  ];
  if (found.length > 0) return found;
  return [
    finding(
      'files',
      'ok',
      `${read.length} files were looked at: nobody else may change them or read their secrets`,
    ),
  ];
};
