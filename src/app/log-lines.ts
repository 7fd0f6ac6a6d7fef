/** The lines of a log: from a file or standard input, plain or gzip. */
import { createReadStream } from 'node:fs';
import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';

/** A longer line is none of ours, octets. */
const LONGEST_LINE = 1_048_576;

/** The stream, unpacked if it is gzip, whatever its name. */
async function* unpacked(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const chunks = stream[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < 2) {
    const { value, done } = await chunks.next();
    if (done === true) break;
    head = Buffer.concat([head, value]);
  }
  const rest = async function* (): AsyncGenerator<Buffer> {
    yield head;
    for (;;) {
      const { value, done } = await chunks.next();
      if (done === true) return;
      yield value;
    }
  };
  if (head[0] !== 0x1f || head[1] !== 0x8b) yield* rest();
  // A fault of either ends the other, and is thrown where the octets are read.
  else yield* pipeline(Readable.from(rest()), createGunzip(), () => undefined);
}

/** Lines without their ends; one that is too long is left out. */
async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let held: Buffer[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    let from = 0;
    for (let at = chunk.indexOf(0x0a); at >= 0; at = chunk.indexOf(0x0a, from)) {
      length += at - from;
      if (length <= LONGEST_LINE) yield Buffer.concat([...held, chunk.subarray(from, at)]).toString('utf8');
      held = [];
      length = 0;
      from = at + 1;
    }
    length += chunk.length - from;
    if (length <= LONGEST_LINE) held.push(chunk.subarray(from));
    else held = [];
  }
  if (length > 0 && length <= LONGEST_LINE) yield Buffer.concat(held).toString('utf8');
}

/** The lines of a log file, `-` for standard input. Throws the error of the file, or of what is no sound gzip. */
export async function* readLines(file: string): AsyncGenerator<string> {
  const stream: AsyncIterable<Buffer> = file === '-' ? process.stdin : createReadStream(file);
  yield* linesOf(unpacked(stream));
}
