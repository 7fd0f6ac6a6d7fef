/** Passwords come from a terminal, unseen, or from standard input: never from argv or the environment, which others can read. */
import type { ReadStream } from 'node:tty';
import { err, ok, type Result } from '../base/result.js';

/** Octets of standard input: far more than any password. */
const MOST = 4_096;

/** The one line of a standard input that is no terminal. */
const fromPipe = async (): Promise<Result<string, string>> => {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of process.stdin) {
    const octets = Buffer.from(chunk);
    chunks.push(octets);
    length += octets.length;
    if (length > MOST) return err('standard input: more than a password');
  }
  const octets = Buffer.concat(chunks);
  const text = octets.toString('utf8');
  if (!Buffer.from(text).equals(octets)) return err('standard input: the password is not UTF-8');
  const line = text.replace(/\r?\n$/, '');
  if (/[\r\n]/.test(line)) return err('standard input: one line is wanted, the password');
  return line === '' ? err('standard input: the password is empty') : ok(line);
};

/** Keys of a terminal in raw mode, one at a time. */
async function* keysOf(terminal: ReadStream): AsyncGenerator<string> {
  terminal.setEncoding('utf8');
  for await (const chunk of terminal) yield* String(chunk);
}

const ABORTED = 'aborted, nothing was changed';

/** One line without echo; undefined when it was aborted. */
const readLine = async (keys: AsyncGenerator<string>, prompt: string): Promise<string | undefined> => {
  process.stderr.write(prompt);
  let line: string[] = [];
  for (;;) {
    const { value: key, done } = await keys.next();
    if (done === true || key === '\u0003' || (key === '\u0004' && line.length === 0)) {
      process.stderr.write('\n');
      return undefined;
    }
    if (key === '\r' || key === '\n' || key === '\u0004') break;
    if (key === '\u007f' || key === '\b') line.pop();
    else if (key === '\u0015') line = [];
    else if (line.length < MOST) line.push(key);
  }
  process.stderr.write('\n');
  return line.join('');
};

const fromTerminal = async (
  terminal: ReadStream,
  who: string,
  twice: boolean,
): Promise<Result<string, string>> => {
  // Raw until the end: what is typed ahead of the second prompt must not be seen either.
  terminal.setRawMode(true);
  const keys = keysOf(terminal);
  try {
    const first = await readLine(keys, `Password for ${who}: `);
    if (first === undefined) return err(ABORTED);
    if (first === '') return err('the password is empty');
    if (/[\u0000-\u001f]/.test(first))
      return err('the password has a control character: was it a cursor key?');
    if (!twice) return ok(first);
    const second = await readLine(keys, 'Once more: ');
    if (second === undefined) return err(ABORTED);
    return first === second ? ok(first) : err('the two are not the same, nothing was changed');
  } finally {
    terminal.setRawMode(false);
    terminal.destroy();
  }
};

/** `twice`: for a new password that is typed. The error is fit for people. */
export const askPassword = (who: string, twice: boolean): Promise<Result<string, string>> =>
  process.stdin.isTTY ? fromTerminal(process.stdin, who, twice) : fromPipe();
