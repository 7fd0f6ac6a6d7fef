/**
 * The last decisions, and a live view of those to come. Fed by events alone: a subscriber like any other. A listener
 * that is slow loses the oldest of what waits for it and is told how many; mail never waits for it.
 */
import type { Note, Peer, SekishoEvent, VerdictKind } from '../base/events.js';
import { IpSet, parseCidr, parseIp } from '../base/ip.js';
import { err, ok, type Result } from '../base/result.js';
import type { ShadowVerdict } from '../policy/facts.js';
import type { RecordedDecision } from '../policy/replay.js';
import { DEFAULT_FEED, Feed, FeedItem, type FeedOptions, once } from './feed.js';

/** How many are kept unless said otherwise. */
export const DECISIONS_KEPT = 1_000;
/** Ids of several processes: each has a residue, and a millisecond has room for eight of each (until the year 2248). */
const PROCESSES = 128;
const IDS_A_MILLISECOND = 1_024;
/** Verdicts whose reply is awaited; the oldest is given up. */
const AWAITED = 4_096;

/** What the client was told in the end: the policy's word, or the mail server's. */
export interface Reply {
  readonly result: 'accepted' | 'rejected' | 'deferred';
  readonly code: number;
  /** Code first; wire text unescaped. */
  readonly reply: string;
}

/** Fit for JSON. Everything from the wire is unescaped. */
export interface Decision extends RecordedDecision {
  /** Grows with each; over several processes as time does. */
  readonly id: number;
  readonly time: number;
  readonly session: string;
  readonly protocol: string;
  readonly verdict: VerdictKind;
  /**
   * `rule`, `no-rule` or `unknown-fact`: the policy's. `sender` and `recipient`: refused before any rule was looked at,
   * for what the address is.
   */
  readonly reason: string;
  /** False under `--observe`. */
  readonly enforced: boolean;
  /** The window by which a rule let it pass. */
  readonly window?: { readonly login: string; readonly source: string };
  /** What shadow rules would have said. */
  readonly shadows: readonly ShadowVerdict[];
  reply?: Reply;
}

/** All that is given has to hold. */
export interface DecisionFilter {
  readonly verdict?: VerdictKind | undefined;
  /** Exactly. */
  readonly rule?: string | undefined;
  /** An address, or a network in CIDR form. */
  readonly client?: string | undefined;
  readonly login?: string | undefined;
  /** Somewhere in sender, recipient, client, its name, HELO, login, rule or reply; in any case. */
  readonly text?: string | undefined;
  /** Only those to which a shadow rule would have said something else. */
  readonly disagreed?: boolean | undefined;
}

export type DecisionTest = (decision: Decision) => boolean;

/** A shadow rule would have said something else. */
export const disagrees = ({ verdict, shadows }: Decision): boolean =>
  shadows.some(({ would }) => would !== verdict);

const clientTest = (client: string): Result<DecisionTest, string> => {
  const cidr = parseCidr(client);
  if (!cidr.ok) return err(`client: ${cidr.error}`);
  const set = IpSet.of([cidr.value]);
  return ok((decision) => {
    const ip = parseIp(decision.client);
    return ip !== undefined && set.has(ip);
  });
};

const textTest = (text: string): DecisionTest => {
  const wanted = text.toLowerCase();
  return ({ from, to, client, clientName, helo, login, rule, reply }) =>
    [from, to, client, clientName, helo, login, rule, reply?.reply].some((each) =>
      each?.toLowerCase().includes(wanted),
    );
};

/** A filter as a question; the error says what is wrong with it. */
export const decisionTest = ({
  verdict,
  rule,
  client,
  login,
  text,
  disagreed,
}: DecisionFilter): Result<DecisionTest, string> => {
  const tests: DecisionTest[] = [];
  if (verdict !== undefined) tests.push((each) => each.verdict === verdict);
  if (rule !== undefined) tests.push((each) => each.rule === rule);
  if (login !== undefined) tests.push((each) => each.login === login || each.window?.login === login);
  if (disagreed === true) tests.push(disagrees);
  if (text !== undefined) tests.push(textTest(text));
  if (client !== undefined) {
    const test = clientTest(client);
    if (!test.ok) return test;
    tests.push(test.value);
  }
  return ok((decision) => tests.every((test) => test(decision)));
};

const ofPeer = (peer: Peer) => {
  const { session, listener, address, name, named, helo, protocol, tls, certificate, login, window } = peer;
  return {
    ...{ session, listener, client: address, clientName: name, named, helo, protocol, tls, login },
    ...(certificate === undefined
      ? {}
      : { certificate: certificate.fingerprint, certificateSubject: certificate.subject }),
    ...(window === undefined ? {} : { window: { ...window } }),
  };
};

const key = (session: string, to: string): string => `${session} ${to}`;

const VERDICTS = { accepted: 'allow', rejected: 'deny', deferred: 'defer' } as const;

type Of<T extends SekishoEvent['type']> = Extract<SekishoEvent, { type: T }>;

export class Decisions {
  readonly #kept: number;
  readonly #now: () => number;
  readonly #process: number | undefined;
  #ring: Decision[] = [];
  /** Where the next one goes once the ring is full. */
  #next = 0;
  #last = 0;
  #shadows: (ShadowVerdict & { readonly key: string })[] = [];
  readonly #awaited = new Map<string, Decision>();
  readonly #feeds = new Set<Feed>();

  /** `process`: the number of this one of several, whose decisions have ids of their own. */
  constructor(kept = DECISIONS_KEPT, now: () => number = Date.now, process?: number) {
    this.#kept = kept;
    this.#now = now;
    this.#process = process;
  }

  /** For the list of subscribers. */
  readonly note: Note = (event) => {
    switch (event.type) {
      case 'shadow':
        this.#shadows.push({
          ...{ key: key(event.peer.session, event.to), rule: event.rule, would: event.would },
        });
        break;
      case 'decision':
        this.#decided(event);
        break;
      case 'recipient':
        this.#replied(event);
        break;
      case 'sender-refused':
        this.#refused(event.peer, 'sender', event.from, '', {
          ...{ result: 'rejected', code: Number(event.reply.slice(0, 3)), reply: event.reply },
        });
        break;
    }
  };

  /** Those that pass, the newest first, at most `limit`. */
  list(limit: number, test: DecisionTest = () => true): readonly Decision[] {
    const found: Decision[] = [];
    for (const decision of this.#newestFirst()) {
      if (found.length >= limit) break;
      if (test(decision)) found.push(decision);
    }
    return found;
  }

  find(id: number): Decision | undefined {
    return this.#ring.find((each) => each.id === id);
  }

  /** Those that a policy judged, the oldest first: for policy/replay. */
  recorded(): readonly RecordedDecision[] {
    return [...this.#newestFirst()]
      .filter(({ reason }) => reason !== 'sender' && reason !== 'recipient')
      .reverse();
  }

  /** What comes from now on. Whoever subscribes closes the feed, or iterates over it to its end. */
  subscribe(test: DecisionTest = () => true, options: Partial<FeedOptions> = {}): Feed {
    const feed = new Feed(test, { ...DEFAULT_FEED, ...options }, (closed) => this.#feeds.delete(closed));
    this.#feeds.add(feed);
    return feed;
  }

  get listeners(): number {
    return this.#feeds.size;
  }

  close(): void {
    for (const feed of this.#feeds) feed.close();
  }

  *#newestFirst(): Generator<Decision> {
    const { length } = this.#ring;
    for (let back = 1; back <= length; back += 1) {
      const decision = this.#ring[(this.#next - back + 2 * length) % length];
      if (decision !== undefined) yield decision;
    }
  }

  #decided(event: Of<'decision'>): void {
    const { peer, from, to, verdict, rule, reason, enforced, windows, suspended } = event;
    const own = key(peer.session, to);
    const shadows = this.#shadows
      .filter((each) => each.key === own)
      .map(({ rule: name, would }) => ({ rule: name, would }));
    // They come right before their decision, in one go.
    this.#shadows = [];
    const decision: Decision = {
      ...{ id: this.#id(), time: this.#now(), ...ofPeer(peer) },
      ...{ from, to, verdict, rule, reason, enforced, shadows, windows, suspended },
    };
    if (this.#awaited.size >= AWAITED) {
      const [oldest] = this.#awaited.keys();
      if (oldest !== undefined) this.#awaited.delete(oldest);
    }
    this.#awaited.set(own, decision);
    this.#keep(decision);
  }

  #replied({ peer, from, to, result, code, reply, verdict }: Of<'recipient'>): void {
    const own = key(peer.session, to);
    const decision = this.#awaited.get(own);
    const said: Reply = { result, code, reply };
    if (decision === undefined) {
      if (verdict === undefined && result !== 'accepted') this.#refused(peer, 'recipient', from, to, said);
      return;
    }
    this.#awaited.delete(own);
    decision.reply = said;
    const { id } = decision;
    const item = once(() => new FeedItem('reply', { id, ...said }));
    for (const feed of this.#feeds) if (feed.test(decision)) feed.replied(id, item);
  }

  #refused(peer: Peer, reason: 'sender' | 'recipient', from: string, to: string, reply: Reply): void {
    this.#keep({
      ...{ id: this.#id(), time: this.#now(), ...ofPeer(peer) },
      ...{ from, to, verdict: VERDICTS[reply.result], reason, enforced: true, shadows: [], reply },
    });
  }

  #id(): number {
    // In the millisecond and the process' own residue, or where there were more in it, further on.
    if (this.#process === undefined) this.#last += 1;
    else
      this.#last = Math.max(
        this.#last + PROCESSES,
        this.#now() * IDS_A_MILLISECOND + (this.#process % PROCESSES),
      );
    return this.#last;
  }

  #keep(decision: Decision): void {
    this.#ring[this.#next] = decision;
    this.#next = (this.#next + 1) % this.#kept;
    if (this.#feeds.size === 0) return;
    const item = once(() => new FeedItem('decision', { ...decision }));
    for (const feed of this.#feeds) if (feed.test(decision)) feed.decided(decision, item);
  }
}
