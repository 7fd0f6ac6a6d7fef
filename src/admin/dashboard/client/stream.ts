/** Server-sent events by fetch, since EventSource can show no token. Comes back by itself when the line breaks. */
import { failureOf, request } from './api.js';

export interface Message {
  readonly event: string;
  readonly data: string;
}

export type LineState = 'connecting' | 'open' | 'lost' | 'token';

const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;
/** The server says something at least so often, ms; a line that is silent for longer is taken for broken. */
const SILENCE = 45_000;

/** Messages out of text that comes in pieces; a comment, by which the server shows that it lives, is none. */
export class Parser {
  #rest = '';

  take(text: string): Message[] {
    this.#rest = (this.#rest + text).replace(/\r\n?/g, '\n');
    const blocks = this.#rest.split('\n\n');
    this.#rest = blocks.pop() ?? '';
    return blocks.flatMap((block) => {
      let event = 'message';
      const data: string[] = [];
      for (const line of block.split('\n')) {
        if (line.startsWith('event:')) event = line.slice(6).trim();
        else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
      }
      return data.length === 0 ? [] : [{ event, data: data.join('\n') }];
    });
  }
}

export class Line {
  state: LineState = 'connecting';
  /** When the next try is, ms since 1970, while it is lost. */
  retryAt = 0;
  #wait = FIRST_WAIT;
  #abort: AbortController | undefined;
  #timer: number | undefined;

  constructor(
    private readonly path: string,
    private readonly onMessage: (message: Message) => void,
    private readonly onState: (state: LineState) => void,
  ) {}

  /** Connects, anew if it has to. */
  connect(): void {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    const abort = new AbortController();
    this.#abort = abort;
    void this.#run(abort);
  }

  #tell(state: LineState): void {
    this.state = state;
    this.onState(state);
  }

  async #run(abort: AbortController): Promise<void> {
    this.#tell('connecting');
    try {
      await this.#read(abort);
    } catch (error) {
      if (this.#abort !== abort) return;
      if (failureOf(error).kind === 'token') return this.#tell('token');
    }
    if (this.#abort !== abort) return;
    this.retryAt = Date.now() + this.#wait;
    this.#timer = setTimeout(() => this.connect(), this.#wait);
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
    this.#tell('lost');
  }

  async #read(abort: AbortController): Promise<void> {
    const { body } = await request(this.path, { signal: abort.signal });
    if (body === null) return;
    this.#wait = FIRST_WAIT;
    this.#tell('open');
    const reader = body.getReader();
    const decoder = new TextDecoder();
    const parser = new Parser();
    for (;;) {
      const silent = setTimeout(() => void reader.cancel(), SILENCE);
      const { value, done } = await reader.read().finally(() => clearTimeout(silent));
      if (done || this.#abort !== abort) return;
      for (const message of parser.take(decoder.decode(value, { stream: true }))) this.onMessage(message);
    }
  }
}
