/** One of several processes: it serves as one alone would, on sockets that its supervisor holds, and does as it is told. */

import type { SekishoEvent } from '../../base/events.js';
import { err, ok } from '../../base/result.js';
import type { ReadFile } from '../../policy/source.js';
import type { AdminDesk } from '../admin.js';
import { loadSetup, type Setup } from '../config.js';
import { policyName } from '../reload.js';
import { Serving } from '../serving.js';
import { DecisionTap } from './decision-tap.js';
import {
  BEAT,
  type Contents,
  FIRST_SOCKET,
  type FromProcess,
  PROTOCOL,
  type Question,
  type ToProcess,
} from './messages.js';

type Begin = Extract<ToProcess, { type: 'begin' }>;

/** What the supervisor says for all: said by each, it would stand in the log many times. */
const SAID_ONCE: ReadonlySet<SekishoEvent['type']> = new Set(['listening', 'reload', 'self-test']);

/** The files as the supervisor has read them. */
const readFrom =
  (files: Contents): ReadFile =>
  (path) => {
    const content = files[path];
    return content === undefined ? err('it was not there when the configuration was read') : ok(content);
  };

const descriptorsOf = (names: readonly string[]): Map<string, number[]> => {
  const descriptors = new Map<string, number[]>();
  for (const [i, name] of names.entries())
    descriptors.set(name, [...(descriptors.get(name) ?? []), FIRST_SOCKET + i]);
  return descriptors;
};

/** What all processes together may have of an upstream is shared out among them: it is what the mail server can bear. */
const withShare = (setup: Setup): Setup => ({
  ...setup,
  proxy: {
    ...setup.proxy,
    upstreams: setup.proxy.upstreams.map((each) => ({
      ...each,
      maxConnections: Math.max(1, Math.floor(each.maxConnections / setup.processes)),
    })),
  },
});

type Send = (message: FromProcess) => Promise<void>;

/** Milliseconds until it is tried again to read logs and answer Whoson, for as long as another process still does. */
const AGAIN = 1_000;

export class FleetProcess {
  readonly #send: Send;
  readonly #serving: Serving;
  readonly #begin: Begin;
  readonly #tap: DecisionTap;
  #desk: AdminDesk | undefined;
  #prepared: Setup | undefined;
  #leaving = false;

  private constructor(send: Send, serving: Serving, begin: Begin) {
    this.#send = send;
    this.#serving = serving;
    this.#begin = begin;
    this.#tap = new DecisionTap(
      serving.admin?.decisions,
      (items, missed) => void send({ type: 'decisions', items, missed }),
    );
  }

  /** Serves. Rejects with an error fit for people. */
  static async begin(begin: Begin, send: Send): Promise<FleetProcess> {
    if (begin.protocol !== PROTOCOL) throw new Error('the supervisor is of another version');
    const setup = loadSetup(begin.flags, readFrom(begin.files));
    if (!setup.ok) throw new Error(setup.error.lines.join('; '));
    const serving = await Serving.of(withShare(setup.value), {
      descriptors: descriptorsOf(begin.sockets),
      log: ({ type }) => !SAID_ONCE.has(type),
      secret: Buffer.from(begin.secret, 'base64'),
      process: begin.process,
    });
    const process = new FleetProcess(send, serving, begin);
    try {
      const listening = await serving.listen();
      process.#desk = await serving.admin?.sit(setup.value, serving.composed);
      serving.selfTest();
      await send({ type: 'ready', listening: [...listening], upstreams: serving.upstreamText });
    } catch (error) {
      await serving.stop();
      throw error;
    }
    setInterval(() => void send({ type: 'beat', connections: serving.connections }), BEAT).unref();
    return process;
  }

  hear(message: ToProcess): void {
    switch (message.type) {
      case 'begin':
        return;
      case 'ask':
        void this.#answer(message.question).then((body) =>
          this.#send({ type: 'answer', id: message.id, body }),
        );
        return;
      case 'lead':
        void this.#lead();
        return;
      case 'elsewhere':
        return this.#serving.elsewhere(message.connections);
      case 'watch':
        return message.on ? this.#tap.open() : this.#tap.close();
      case 'retire':
        void this.#retire(message.ms);
        return;
      case 'drain':
        void this.#end(message.ms);
        return;
      case 'stop':
        void this.#serving.stop().then(() => process.exit(0));
        return;
    }
  }

  /** Told by nobody: somebody ended this process alone, or the supervisor is gone. */
  drain(): void {
    void this.#end(this.#serving.drainTime);
  }

  async #lead(): Promise<void> {
    const { note } = this.#serving.composed;
    for (let told = false; !this.#leaving; told = true) {
      try {
        await this.#serving.follow();
        return;
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error);
        if (!told) note({ type: 'warning', text: `${text}; trying again` });
        await new Promise((resolve) => setTimeout(resolve, AGAIN));
      }
    }
  }

  async #retire(ms: number): Promise<void> {
    await this.#serving.retire(ms);
    this.drain();
  }

  async #end(ms: number): Promise<void> {
    if (this.#leaving) return;
    this.#leaving = true;
    this.#tap.close();
    await this.#serving.drain(ms, async () => {
      await this.#send({ type: 'last', snapshot: await this.#serving.composed.metrics.snapshot() });
    });
    process.exit(0);
  }

  async #answer(question: Question): Promise<unknown> {
    switch (question.what) {
      case 'metrics':
        return this.#serving.composed.metrics.snapshot();
      case 'prepare':
        return this.#prepare(question.files);
      case 'commit':
        return this.#commit();
      case 'http':
        return this.#desk?.(question.request);
    }
  }

  #prepare(files: Contents): readonly string[] {
    const setup = loadSetup(this.#begin.flags, readFrom(files));
    this.#prepared = setup.ok ? setup.value : undefined;
    return setup.ok ? [] : setup.error.lines;
  }

  #commit(): readonly string[] {
    if (this.#prepared === undefined) return ['nothing was prepared'];
    this.#serving.apply(this.#prepared);
    this.#prepared = undefined;
    const { note } = this.#serving.composed;
    note({ type: 'reload', ok: true, policy: policyName(this.#begin.flags) });
    return [];
  }
}
