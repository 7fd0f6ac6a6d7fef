/** Where a policy comes from: its file, the files it names, and the errors found in them. */
import type { Result } from '../base/result.js';
import type { PolicyDocument } from './document.js';
import { type KeyPath, keyText, type PolicyError, printable, type Report, splitRemedy } from './errors.js';

/** Gives the text of a file, or says why not. */
export type ReadFile = (path: string) => Result<string, string>;

export class Source {
  readonly errors: PolicyError[] = [];

  constructor(
    /** Path of the policy file as the user gave it. */
    readonly file: string,
    readonly readFile: ReadFile,
    private readonly document: PolicyDocument,
  ) {}

  /** The path of a file that the policy names: absolute, or relative to the policy. */
  resolve(path: string): string {
    const slash = this.file.lastIndexOf('/');
    return path.startsWith('/') || slash < 0 ? path : `${this.file.slice(0, slash + 1)}${path}`;
  }

  readonly report: Report = (path, message, remedy = '') => this.#add(path, false, message, remedy);

  /** A fault in an entry, whose text says what is wrong with it and perhaps what was meant. */
  reportEntry(path: KeyPath, entry: string, fault: string): void {
    const { message, remedy } = splitRemedy(fault);
    this.#add(path, false, `"${printable(entry)}": ${message}`, remedy);
  }

  /** A fault in the key itself. */
  readonly reportKey: Report = (path, message, remedy = '') => this.#add(path, true, message, remedy);

  /** A fault in a file that the policy names at `path`. */
  reportIn(
    file: string,
    fault: { readonly line: number; readonly column: number; readonly message: string },
    path: KeyPath,
  ): void {
    this.errors.push({ file, ...fault, key: keyText(path), ...splitRemedy(fault.message) });
  }

  placeOf(path: KeyPath): { readonly line: number; readonly column: number } {
    return this.document.placeOf(path);
  }

  #add(path: KeyPath, onKey: boolean, message: string, remedy: string): void {
    this.errors.push({
      file: this.file,
      ...this.document.placeOf(path, onKey),
      key: keyText(path),
      message,
      remedy,
    });
  }
}
