/** What the API says, and the parts of it that the page keeps fresh. */
import { get } from './api.js';
import { Slice } from './slice.js';

export type Verdict = 'allow' | 'deny' | 'defer';

export interface Shadow {
  readonly rule: string;
  readonly would: Verdict;
}

export interface Reply {
  readonly result: 'accepted' | 'rejected' | 'deferred';
  readonly code: number;
  readonly reply: string;
}

export interface Decision {
  readonly id: number;
  readonly time: string | number;
  readonly session: string;
  readonly listener: string;
  readonly client: string;
  readonly clientName?: string;
  readonly helo?: string;
  readonly protocol: string;
  readonly tls?: string;
  readonly login?: string;
  readonly window?: { readonly login: string; readonly source: string };
  readonly suspended?: boolean;
  readonly from: string;
  readonly to: string;
  readonly verdict: Verdict;
  readonly rule?: string;
  readonly reason: string;
  readonly enforced: boolean;
  readonly shadows: readonly Shadow[];
  readonly reply?: Reply;
}

export interface Status {
  readonly you: { readonly name: string; readonly role: 'read' | 'full' };
  readonly version: string;
  readonly started: string;
  readonly listening: readonly { listener: string; address: string; port: number }[];
  readonly sessions: number;
  readonly upstreams: { readonly up: number; readonly draining: number; readonly all: number };
  readonly policy: {
    readonly source: string;
    readonly hash: string;
    readonly since: string;
    readonly rules: number;
    readonly observe: boolean;
    readonly lastReload?: { readonly at: string; readonly ok: boolean; readonly faults: readonly string[] };
  };
  readonly store: { readonly name: string; readonly ok: boolean; readonly windows?: number };
}

export interface OpenForm {
  readonly form: string;
  readonly mail: string;
  readonly rcpt: string;
  readonly rule: string;
  readonly how: string;
}

export interface SelfTest {
  readonly at?: string;
  readonly forms: number;
  readonly open: readonly OpenForm[];
  readonly undecided: number;
}

export interface Session {
  readonly session: string;
  readonly listener: string;
  readonly address: string;
  readonly since: string;
  readonly step: string;
  readonly name?: string;
  readonly helo?: string;
  readonly protocol: string;
  readonly tls?: string;
  readonly login?: string;
  readonly from?: string;
  readonly recipients: number;
  readonly messages: number;
  readonly verdict?: Verdict;
  readonly rule?: string;
}

export interface Upstream {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly up?: boolean;
  readonly draining: boolean;
  readonly hostname?: string;
  readonly reason?: string;
  readonly busy: number;
  readonly idle: number;
  readonly waiting: number;
  readonly maxConnections: number;
}

export interface Window {
  readonly login: string;
  readonly address: string;
  readonly source: string;
  readonly since: string;
  readonly until: string | null;
  readonly used: number;
  readonly budget: number;
}

export interface Suspended {
  readonly login: string;
  readonly until: string | null;
  readonly why: string;
}

export interface History {
  readonly from: string;
  readonly stepSeconds: number;
  readonly series: Readonly<Record<string, readonly number[]>>;
}

export interface Limit {
  readonly per: string;
  readonly then: string;
  readonly counts: readonly { readonly what: string; readonly most: number; readonly seconds: number }[];
}

export interface PolicyRule {
  readonly name: string;
  readonly verb: Verdict;
  readonly shadow: boolean;
  readonly conditions: readonly { readonly key: string; readonly text: string }[];
  readonly limit?: Limit;
}

export interface PolicyTest {
  readonly name: string;
  readonly ok: boolean;
  readonly why: string;
  readonly line: number;
}

export interface Policy {
  readonly source: string;
  readonly hash: string;
  readonly since: string;
  readonly observe: boolean;
  readonly text?: string;
  readonly rules: readonly PolicyRule[];
  readonly tests: readonly PolicyTest[];
  readonly lastReload?: { readonly at: string; readonly ok: boolean; readonly faults: readonly string[] };
}

export interface Outcome {
  readonly verdict: Verdict;
  readonly rule?: string;
}

export interface ReplayGroup {
  readonly before: Outcome;
  readonly after: Outcome;
  readonly count: number;
  readonly examples: readonly {
    readonly time?: string;
    readonly client: string;
    readonly login?: string;
    readonly from: string;
    readonly to: string;
    readonly why: string;
  }[];
}

export interface Replay {
  readonly total: number;
  readonly same: number;
  readonly changed: number;
  readonly moved: number;
  readonly cannot: { readonly count: number; readonly why: readonly { why: string; count: number }[] };
  readonly changes: readonly ReplayGroup[];
  readonly moves: readonly ReplayGroup[];
}

export interface PolicyFault {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly key: string;
  readonly message: string;
  readonly remedy: string;
}

export interface Trial {
  readonly ok: boolean;
  readonly errors: readonly PolicyFault[];
  readonly tests: readonly PolicyTest[];
  readonly differences?: Replay;
}

export type Truth = 'yes' | 'no' | 'unknown';

export interface RuleReport {
  readonly rule: string;
  readonly verb: Verdict;
  readonly shadow: boolean;
  readonly truth: Truth;
  readonly conditions: readonly { key: string; text: string; truth: Truth; why: string }[];
}

export interface Explanation {
  readonly rules: readonly RuleReport[];
  readonly notReached: readonly string[];
  readonly verdict: { readonly kind: Verdict; readonly rule?: string; readonly why: string };
  readonly refusedBefore: readonly string[];
  readonly suspended?: { readonly until: string | null; readonly why: string };
  readonly limits?: readonly {
    readonly what: string;
    readonly used: number;
    readonly most: number;
    readonly resetSeconds: number;
  }[];
  readonly unknown: readonly string[];
  readonly observe: boolean;
}

export interface Question {
  readonly client: string;
  readonly from: string;
  readonly to: string;
  readonly listener?: string;
  readonly helo?: string;
  readonly clientName?: string;
  readonly login?: string;
  readonly window?: string;
  readonly tls?: string;
}

export const status = new Slice(() => get<Status>('status'), 5_000);
export const selfTest = new Slice(() => get<SelfTest>('self-test'), 30_000);
export const upstreams = new Slice(
  async () => (await get<{ upstreams: Upstream[] }>('upstreams')).upstreams,
  5_000,
);
export const sessions = new Slice(
  async () => (await get<{ sessions: Session[] }>('sessions?limit=200')).sessions,
  3_000,
);
export const windows = new Slice(
  async () => (await get<{ windows: Window[] }>('windows?limit=500')).windows,
  5_000,
);
export const suspended = new Slice(
  async () => (await get<{ suspended: Suspended[] }>('logins/suspended?limit=500')).suspended,
  5_000,
);

/** How many minutes the plots show. */
export const shown = { minutes: 360 };
export const history = new Slice(() => get<History>(`history?minutes=${shown.minutes}`), 15_000);
export const policy = new Slice(() => get<Policy>('policy'), 10_000);

/** How many decisions the page holds. */
export const KEPT = 1_000;

/** The last decisions, the newest first. */
export class Recent {
  #all: Decision[] = [];
  #heard: Decision[] = [];
  /** How many the server had no time to tell of. */
  missed = 0;
  readonly #listeners = new Set<() => void>();
  #drawn = false;

  get all(): readonly Decision[] {
    return this.#all;
  }

  /** The line is open: from now on all is heard. What was heard before may be of a process that is gone. */
  begin(): void {
    this.#heard = [];
  }

  /** Those of before the line was open; the newest first. */
  before(decisions: readonly Decision[]): void {
    const known = new Set(decisions.map(({ id }) => id));
    this.#all = [...this.#heard.filter(({ id }) => !known.has(id)), ...decisions].slice(0, KEPT);
    this.#changed();
  }

  add(decision: Decision): void {
    for (const list of [this.#heard, this.#all]) {
      list.unshift(decision);
      list.length = Math.min(list.length, KEPT);
    }
    this.#changed();
  }

  reply({ id, ...reply }: Reply & { readonly id: number }): void {
    for (const list of [this.#heard, this.#all]) {
      const at = list.findIndex((each) => each.id === id);
      const decision = list[at];
      if (decision !== undefined) list[at] = { ...decision, reply };
    }
    this.#changed();
  }

  listen(changed: () => void): () => void {
    this.#listeners.add(changed);
    changed();
    return () => this.#listeners.delete(changed);
  }

  /** However many come, the page is drawn once a frame. */
  #changed(): void {
    if (this.#drawn) return;
    this.#drawn = true;
    requestAnimationFrame(() => {
      this.#drawn = false;
      for (const listener of this.#listeners) listener();
    });
  }
}

export const recent = new Recent();
