/** A look at an LMDB file before it is mapped. */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { err, ok, type Result } from '../../base/result.js';
import { currentMeta, walk } from './lmdb-pages.js';

export interface FileUse {
  readonly octets: number;
  /** Of these, what holds something. */
  readonly used: number;
}

/** Others may write while it is looked at, and then what was looked at may be gone. */
const ATTEMPTS = 3;

const look = (descriptor: number): Result<FileUse, string> => {
  for (let attempt = 1; ; attempt++) {
    const { size } = fstatSync(descriptor);
    if (size === 0) return ok({ octets: 0, used: 0 });
    const meta = currentMeta(descriptor);
    if (typeof meta === 'string') return err(meta);
    const used = walk(descriptor, size, meta);
    if (typeof used === 'number') return ok({ octets: size, used: used * meta.pageSize });
    // The pages of a state are written over from the second commit after it at the earliest.
    const after = currentMeta(descriptor);
    if (typeof after !== 'string' && after.txnId === meta.txnId) return err(used);
    // Whoever writes has found it sound.
    if (attempt === ATTEMPTS) return ok({ octets: size, used: size });
  }
};

/** A file that is not there, or is empty, is sound: it will be made. */
export const soundFile = (file: string): Result<FileUse, string> => {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    return missing ? ok({ octets: 0, used: 0 }) : err(error instanceof Error ? error.message : String(error));
  }
  try {
    return look(descriptor);
  } finally {
    closeSync(descriptor);
  }
};
