/** A real server that a test started, with a folder of its own: stopped, hung, let go on and started anew. */
import type { ChildProcess } from 'node:child_process';
import { rmSync } from 'node:fs';

/** Milliseconds for which a server may take to be there, on a busy machine too. */
const PATIENCE = 60_000;

export abstract class Daemon {
  protected child: ChildProcess;

  /** `name`: for the error of one that does not start. `launch` may be called again after `halt`. */
  protected constructor(
    private readonly name: string,
    readonly dir: string,
    private readonly launch: () => ChildProcess,
  ) {
    this.child = launch();
  }

  /** It serves. */
  protected abstract there(): Promise<boolean>;

  /** What it said, for the error of one that does not start. */
  protected said(): string {
    return '';
  }

  /** Waits until it serves; one that never does is gone. */
  protected async begun(): Promise<this> {
    try {
      await this.#ready();
    } catch (error) {
      await this.stop();
      throw error;
    }
    return this;
  }

  /** Stops it where it is (it takes connections and answers nothing), or lets it go on. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.child.kill(signal);
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Ends it; `resume` starts it again with the same files and ports. */
  async halt(): Promise<void> {
    if (!this.running) return;
    const ended = new Promise((resolve) => this.child.once('close', resolve));
    this.signal('SIGCONT');
    this.child.kill('SIGTERM');
    await ended;
  }

  async resume(): Promise<void> {
    this.child = this.launch();
    await this.#ready();
  }

  async stop(): Promise<void> {
    await this.halt();
    rmSync(this.dir, { recursive: true, force: true });
  }

  async #ready(): Promise<void> {
    const end = Date.now() + PATIENCE;
    while (Date.now() < end && this.running) {
      if (await this.there()) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`${this.name} did not start ${this.said()}`.trimEnd());
  }
}
