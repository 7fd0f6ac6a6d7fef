/** A run of the fuzzer: cases over sockets, many at once, and the core between them; findings are cut down. */

import type { FuzzCase, FuzzClient, Move } from './case.js';
import { CORE_TARGETS } from './core.js';
import { generate } from './generate.js';
import { Random } from './random.js';
import { runCase, type Tools } from './run.js';

export { CORE_TARGETS };

export interface Finding {
  /** How to make it again. */
  readonly again: string;
  readonly faults: readonly string[];
  /** Cut down as far as it still fails; undefined for the core. */
  readonly case?: FuzzCase;
}

export interface Plan {
  readonly seed: number;
  readonly from: number;
  readonly cases: number;
  /** Milliseconds since 1970. */
  readonly until: number;
  readonly atOnce: number;
  readonly sockets: boolean;
  readonly core: boolean;
  readonly tools: Tools;
  readonly say: (text: string) => void;
  readonly found?: (finding: Finding) => void;
}

export interface Outcome {
  readonly cases: number;
  readonly sessions: number;
  readonly core: number;
  readonly findings: readonly Finding[];
  /** The first case that was not tried. */
  readonly next: number;
  /** Megabytes at the end. */
  readonly memory: number;
}

/** One smaller case after the other: a client less, a move less, an act of the upstream less. */
function* smaller(each: FuzzCase): Generator<FuzzCase> {
  const { clients, mta } = each;
  if (clients.length > 1)
    for (const [i] of clients.entries()) yield { ...each, clients: clients.filter((_, j) => j !== i) };
  for (const step of Object.keys(mta) as (keyof typeof mta)[]) {
    const { [step]: _, ...rest } = mta;
    yield { ...each, mta: rest };
  }
  for (const [i, client] of clients.entries()) {
    const with_ = (changed: Partial<FuzzClient>): FuzzCase => ({
      ...each,
      clients: clients.map((other, j) => (j === i ? { ...client, ...changed } : other)),
    });
    if (client.cuts.length > 0) yield with_({ cuts: [] });
    for (let n = client.moves.length >> 1; n >= 1; n >>= 1) {
      for (let at = 0; at < client.moves.length; at += n) {
        const moves: Move[] = client.moves.filter((_, j) => j < at || j >= at + n);
        yield with_({ moves });
      }
    }
  }
}

/** What sort of fault it is, without what differs from one run to the next. */
const sortOf = (fault = ''): string => fault.split(':')[0] ?? '';

/** The smallest case found, within so many tries, that still has such a fault. */
const cutDown = async (first: FuzzCase, fault: string, tools: Tools, tries = 120): Promise<FuzzCase> => {
  let best = first;
  let left = tries;
  for (let better = true; better && left > 0; ) {
    better = false;
    for (const candidate of smaller(best)) {
      left -= 1;
      if (left < 0) break;
      const faults = await runCase(candidate, tools);
      if (!faults.some((each) => sortOf(each) === sortOf(fault))) continue;
      best = candidate;
      better = true;
      break;
    }
  }
  return best;
};

/** A case that never ends is a finding as well. */
const OVERDUE = 180_000;

/** Notices that the process was stopped for a while (by a signal, or a machine that slept): every deadline then ran out at once. */
class Pauses {
  #count = 0;
  #lost = 0;
  #last = Date.now();
  readonly #timer = setInterval(() => this.look(), 250).unref();

  /** Milliseconds lost so far. */
  get lost(): number {
    return this.#lost;
  }

  /** How many there have been. */
  look(): number {
    const gap = Date.now() - this.#last;
    this.#last = Date.now();
    if (gap > 3_000) {
      this.#count += 1;
      this.#lost += gap;
    }
    return this.#count;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

const overdue = (name: string): { promise: Promise<string[]>; stop: () => void } => {
  let timer: NodeJS.Timeout | undefined;
  const promise = new Promise<string[]>((resolve) => {
    timer = setTimeout(() => resolve([`${name} does not end`]), OVERDUE);
  });
  return { promise, stop: () => clearTimeout(timer) };
};

export const campaign = async (plan: Plan): Promise<Outcome> => {
  const findings: Finding[] = [];
  let next = plan.from;
  let [cases, sessions, core] = [0, 0, 0];
  let running = '';
  const pauses = new Pauses();
  const found = (finding: Finding): void => {
    findings.push(finding);
    plan.say(`FINDING (${finding.again}): ${finding.faults.join('\n      ')}`);
    plan.found?.(finding);
  };
  // An error that nobody caught is a finding of whatever runs.
  const uncaught = (error: unknown): void => {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    found({ again: `near ${running}`, faults: [`uncaught: ${text}`] });
  };
  process.on('uncaughtException', uncaught).on('unhandledRejection', uncaught);
  const more = (): boolean =>
    Date.now() < plan.until + pauses.lost && next < plan.from + plan.cases && findings.length < 20;
  /** Anew when the process was stopped meanwhile: what failed then proves nothing. */
  const played = async (each: FuzzCase, name: string): Promise<string[]> => {
    for (;;) {
      const before = pauses.look();
      const { promise, stop } = overdue(name);
      const faults = await Promise.race([runCase(each, plan.tools), promise]);
      stop();
      if (faults.length === 0 || pauses.look() === before) return faults;
    }
  };
  const worker = async (): Promise<void> => {
    while (more()) {
      const nth = next;
      next += 1;
      const name = `--seed ${plan.seed} --from ${nth} --cases 1`;
      running = name;
      if (plan.core) {
        for (const [target, run] of Object.entries(CORE_TARGETS)) {
          const fault = run(Random.forCase(plan.seed, nth));
          core += 1;
          if (fault !== undefined) found({ again: `${name} --only core`, faults: [`${target}: ${fault}`] });
        }
      }
      if (!plan.sockets) {
        if (nth % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      const each = generate(Random.forCase(plan.seed, nth), name);
      const faults = await played(each, name);
      cases += 1;
      sessions += each.clients.length;
      if (cases % 500 === 0)
        plan.say(
          `${cases} cases, ${sessions} sessions, ${process.memoryUsage().rss >> 20} MB, at case ${nth}`,
        );
      const [first] = faults;
      if (first !== undefined) found({ again: name, faults, case: await cutDown(each, first, plan.tools) });
    }
  };
  await Promise.all(Array.from({ length: plan.atOnce }, worker));
  pauses.stop();
  process.off('uncaughtException', uncaught).off('unhandledRejection', uncaught);
  return { cases, sessions, core, findings, next, memory: process.memoryUsage().rss >> 20 };
};
