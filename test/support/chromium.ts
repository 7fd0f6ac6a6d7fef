/** Debian's Chromium, driven by the DevTools protocol over a pipe: real pages, real clicks, no library between. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { install } from './packages.js';
import { eventually } from './sekisho.js';

type Json = Readonly<Record<string, unknown>>;
type Answer = { readonly result?: Json; readonly error?: { readonly message: string } };

const PATIENCE = 60_000;

/** The pipe: JSON messages, each ended by NUL. */
class Pipe {
  #rest = '';
  #last = 0;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  onEvent: (method: string, params: Json, sessionId: string | undefined) => void = () => undefined;

  constructor(
    private readonly out: Writable,
    input: Readable,
  ) {
    input.setEncoding('utf8');
    input.on('data', (chunk: string) => this.#take(chunk));
    // Whoever still waits when it ends would wait for ever.
    input.on('close', () => {
      for (const answer of this.#waiting.values()) answer({ error: { message: 'chromium has ended' } });
    });
    out.on('error', () => undefined);
  }

  send(method: string, params: Json = {}, sessionId?: string): Promise<Json> {
    this.#last += 1;
    const id = this.#last;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, ({ result, error }) => {
        this.#waiting.delete(id);
        if (error === undefined) resolve(result ?? {});
        else reject(new Error(`${method}: ${error.message}`));
      });
      this.out.write(
        `${JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) })}\0`,
      );
    });
  }

  #take(chunk: string): void {
    const messages = (this.#rest + chunk).split('\0');
    this.#rest = messages.pop() ?? '';
    for (const text of messages) {
      const message = JSON.parse(text);
      if (message.id === undefined) this.onEvent(message.method, message.params, message.sessionId);
      else this.#waiting.get(message.id)?.(message);
    }
  }
}

export interface Look {
  readonly width: number;
  readonly theme: 'light' | 'dark';
}

export interface Violation {
  readonly id: string;
  readonly help: string;
  readonly nodes: readonly { readonly html: string; readonly failureSummary: string }[];
}

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

export class Page {
  /** Errors and warnings of the console, uncaught exceptions, and what the security policy kept out. */
  readonly complaints: string[] = [];
  /** Every URL that was asked for. */
  readonly requests: string[] = [];

  constructor(
    private readonly pipe: Pipe,
    private readonly session: string,
    private readonly target: string,
  ) {}

  hear(method: string, params: Json): void {
    if (method === 'Network.requestWillBeSent') this.requests.push(String((params.request as Json).url));
    else if (method === 'Runtime.exceptionThrown')
      this.complaints.push(JSON.stringify(params.exceptionDetails));
    else if (method === 'Log.entryAdded') this.complaints.push(JSON.stringify(params.entry));
    else if (method === 'Runtime.consoleAPICalled') this.complaints.push(JSON.stringify(params.args));
  }

  send(method: string, params: Json = {}): Promise<Json> {
    return this.pipe.send(method, params, this.session);
  }

  /** The value of an expression; a promise is awaited. */
  async evaluate<T = unknown>(expression: string): Promise<T> {
    const given = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', given);
    if (exceptionDetails !== undefined) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`);
    return (result as { value: T }).value;
  }

  /** Loads it anew, whatever is there now. */
  async open(url: string): Promise<void> {
    await this.send('Page.navigate', { url: 'about:blank' });
    await this.send('Page.navigate', { url });
    await this.until(
      'the page is loaded',
      `document.readyState === 'complete' && location.href !== 'about:blank'`,
    );
  }

  /** Waits until an expression is true; the failure shows what the page says. */
  async until(what: string, expression: string, patience = PATIENCE): Promise<void> {
    const holds = (): Promise<boolean> => this.evaluate<boolean>(`Boolean(${expression})`).catch(() => false);
    try {
      await eventually(what, holds, patience);
    } catch (error) {
      const text = await this.evaluate<string>('document.body?.innerText').catch(() => '(gone)');
      throw new Error(`${String(error)}\nThe page says:\n${text}`);
    }
  }

  /** Waits until some element has this text. */
  untilText(selector: string, text: string): Promise<void> {
    return this.until(
      `"${text}" in ${selector}`,
      `[...document.querySelectorAll(${JSON.stringify(selector)})].some((each) => each.textContent.includes(${JSON.stringify(text)}))`,
    );
  }

  /** Clicks what can be seen there, by the mouse. `text`: the one with this text. */
  async click(selector: string, text = ''): Promise<void> {
    const find = `[...document.querySelectorAll(${JSON.stringify(selector)})].find((each) => each.textContent.includes(${JSON.stringify(text)}) && each.checkVisibility() && !each.disabled)`;
    await this.until(`${selector} "${text}" can be clicked`, find);
    const { x, y } = await this.evaluate<{ x: number; y: number }>(
      `(() => { const found = ${find}; found.scrollIntoView({ block: 'center', behavior: 'instant' }); const { x, y, width, height } = found.getBoundingClientRect(); return { x: x + width / 2, y: y + height / 2 }; })()`,
    );
    const at = { x, y, button: 'left', clickCount: 1 };
    await this.send('Input.dispatchMouseEvent', { type: 'mousePressed', ...at });
    await this.send('Input.dispatchMouseEvent', { type: 'mouseReleased', ...at });
  }

  /** Puts text into a field, in place of what is there, by the keyboard. */
  async type(selector: string, text: string): Promise<void> {
    await this.until(`${selector} is there`, `document.querySelector(${JSON.stringify(selector)})`);
    await this.evaluate(
      `(() => { const field = document.querySelector(${JSON.stringify(selector)}); field.focus(); field.select(); })()`,
    );
    await this.send('Input.insertText', { text });
  }

  async press(key: string): Promise<void> {
    const text = key === 'Enter' ? { text: '\r' } : {};
    const codes: Readonly<Record<string, number>> = { Enter: 13, Tab: 9, Escape: 27 };
    const event = { key, code: key, windowsVirtualKeyCode: codes[key] ?? 0, ...text };
    await this.send('Input.dispatchKeyEvent', { type: 'keyDown', ...event });
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', ...event });
  }

  async look({ width, theme }: Look): Promise<void> {
    const phone = width < 500;
    const metrics = { width, height: phone ? 844 : 900, deviceScaleFactor: phone ? 2 : 1, mobile: phone };
    await this.send('Emulation.setDeviceMetricsOverride', metrics);
    await this.send('Emulation.setEmulatedMedia', {
      features: [
        { name: 'prefers-color-scheme', value: theme },
        { name: 'prefers-reduced-motion', value: 'reduce' },
      ],
    });
  }

  /** Octets by which the page is wider than the screen. */
  overflow(): Promise<number> {
    return this.evaluate<number>(
      'document.documentElement.scrollWidth - document.documentElement.clientWidth',
    );
  }

  async screenshot(file: string): Promise<void> {
    const { cssContentSize } = await this.send('Page.getLayoutMetrics');
    const { width, height } = cssContentSize as { width: number; height: number };
    const clip = { x: 0, y: 0, width, height: Math.min(height, 4_000), scale: 1 };
    const { data } = await this.send('Page.captureScreenshot', { captureBeyondViewport: true, clip });
    writeFileSync(file, Buffer.from(String(data), 'base64'));
  }

  /** What axe finds against WCAG 2 A and AA. */
  async violations(source: string): Promise<readonly Violation[]> {
    if (!(await this.evaluate<boolean>(`typeof axe === 'object'`))) await this.evaluate(`${source}; true`);
    const tags = `{ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }`;
    return this.evaluate(`axe.run(document, ${tags}).then(({ violations }) => violations)`);
  }

  close(): Promise<Json> {
    return this.pipe.send('Target.closeTarget', { targetId: this.target });
  }
}

export { AXE };

export class Chromium {
  readonly #pages = new Map<string, Page>();

  private constructor(
    private readonly child: ChildProcess,
    private readonly pipe: Pipe,
    private readonly folder: string,
  ) {
    pipe.onEvent = (method, params, sessionId) => this.#pages.get(sessionId ?? '')?.hear(method, params);
  }

  static async start(): Promise<Chromium> {
    await install(['chromium']);
    const folder = mkdtempSync(path.join(os.tmpdir(), 'sekisho-chromium-'));
    const flags = ['--headless=new', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--no-first-run'];
    const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];
    const child = spawn(
      'chromium',
      [...flags, ...quiet, `--user-data-dir=${folder}`, '--remote-debugging-pipe', 'about:blank'],
      { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] },
    );
    const [, , , out, input] = child.stdio;
    const pipe = new Pipe(out as Writable, input as Readable);
    const browser = new Chromium(child, pipe, folder);
    await pipe.send('Browser.getVersion');
    return browser;
  }

  /** A page with storage of its own. */
  async page(look: Look = { width: 1_280, theme: 'light' }): Promise<Page> {
    const { browserContextId } = await this.pipe.send('Target.createBrowserContext');
    const { targetId } = await this.pipe.send('Target.createTarget', {
      url: 'about:blank',
      browserContextId,
    });
    const { sessionId } = await this.pipe.send('Target.attachToTarget', { targetId, flatten: true });
    const page = new Page(this.pipe, String(sessionId), String(targetId));
    this.#pages.set(String(sessionId), page);
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await page.send(`${domain}.enable`);
    await page.look(look);
    return page;
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.child.once('close', resolve));
    this.child.kill('SIGTERM');
    const hard = setTimeout(() => this.child.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(hard);
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
