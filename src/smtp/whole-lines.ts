/**
 * Message data by SIMD: whole lines that are beyond doubt are passed over sixty-four octets at a time, which takes a fifteenth of
 * what looking at each octet does. It decides nothing: the scanner looks at whatever is left, and gets by without it.
 */
import { LF } from './chars.js';
import { WHOLE_LINES_WASM } from './whole-lines-wasm.js';

/** What of WebAssembly is used; Node's types do not have it. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object) => { readonly exports: Readonly<Record<string, unknown>> };
};

/** `at` and `end` are addresses; see whole-lines.wat. */
type Skip = (at: number, end: number, greatest: number, lineLimit: number) => number;

/** The address of the first octet. What is before it belongs to no message. */
const FIRST = 16;
const NO_LIMIT = 0x7fff_ffff;

const isMemory = (value: unknown): value is { readonly buffer: ArrayBuffer } =>
  typeof value === 'object' && value !== null && 'buffer' in value && value.buffer instanceof ArrayBuffer;
const isSkip = (value: unknown): value is Skip => typeof value === 'function';

export class WholeLines {
  readonly #memory: Uint8Array;
  readonly #skip: Skip;
  #end = FIRST;

  private constructor(memory: ArrayBuffer, skip: Skip) {
    this.#memory = new Uint8Array(memory);
    this.#memory[FIRST - 1] = LF;
    this.#skip = skip;
  }

  /** Undefined: this machine cannot do it. */
  static make(): WholeLines | undefined {
    try {
      const module = new WebAssembly.Module(Buffer.from(WHOLE_LINES_WASM, 'base64'));
      const { memory, skip } = new WebAssembly.Instance(module).exports;
      return isMemory(memory) && isSkip(skip) ? new WholeLines(memory.buffer, skip) : undefined;
    } catch {
      return undefined;
    }
  }

  /** Takes a copy of what is to be looked at; false: it is too much at once. */
  load(octets: Uint8Array): boolean {
    if (octets.length > this.#memory.length - FIRST) return false;
    this.#memory.set(octets, FIRST);
    this.#end = FIRST + octets.length;
    return true;
  }

  /**
   * `at`: where in what was loaded a line begins. Where the last line begins of which all before it are lines of at most
   * `lineLimit` octets, ended by CRLF, with no dot at the beginning, no NUL and no octet above `greatest`.
   */
  skip(at: number, greatest: number, lineLimit: number): number {
    return this.#skip(at + FIRST, this.#end, greatest, Math.min(lineLimit, NO_LIMIT)) - FIRST;
  }
}
