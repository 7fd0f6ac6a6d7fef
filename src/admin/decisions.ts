/**
 * The last decisions, and a live view of those to come. Fed by events alone: a subscriber like any other. A listener
 * that is slow loses the oldest of what waits for it and is told how many; mail never waits for it.
 */
import { hearing, type SekishoEvent, type VerdictKind } from '../base/events.js';
import { IpSet, parseCidr, parseIp } from '../base/ip.js';
import { err, ok, type Result } from '../base/result.js';
import type { ShadowVerdict } from '../policy/facts.js';
import type { RecordedDecision } from '../policy/replay.js';
import { DEFAULT_FEED, Feed, FeedItem, type FeedOptions, once } from './feed.js';
import { KeptDecision } from './kept-decision.js';

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
  readonly reply?: Reply;
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

const VERDICTS = { accepted: 'allow', rejected: 'deny', deferred: 'defer' } as const;

type Of<T extends SekishoEvent['type']> = Extract<SekishoEvent, { type: T }>;

export class Decisions {
  readonly #kept: number;
  readonly #now: () => number;
  readonly #process: number | undefined;
  #ring: KeptDecision[] = [];
  /** Where the next one goes once the ring is full. */
  #next = 0;
  #last = 0;
  #shadows: Of<'shadow'>[] = [];
  /** Of each session the last one whose reply may still come. */
  readonly #awaited = new Map<string, KeptDecision>();
  #waiting = 0;
  readonly #feeds = new Set<Feed>();

  /** `process`: the number of this one of several, whose decisions have ids of their own. */
  constructor(kept = DECISIONS_KEPT, now: () => number = Date.now, process?: number) {
    this.#kept = kept;
    this.#now = now;
    this.#process = process;
  }

  /** For the list of subscribers. */
  readonly note = hearing(['shadow', 'decision', 'recipient', 'sender-refused'], (event) => {
    switch (event.type) {
      case 'shadow':
        this.#shadows.push(event);
        break;
      case 'decision':
        this.#decided(event);
        break;
      case 'recipient':
        this.#replied(event);
        break;
      case 'sender-refused':
        this.#refused({ ...event, to: '' }, 'sender', 'rejected', Number(event.reply.slice(0, 3)));
        break;
    }
  });

  /** Those that pass, the newest first, at most `limit`. */
  list(limit: number, test: DecisionTest = () => true): readonly Decision[] {
    const found: Decision[] = [];
    for (const kept of this.#newestFirst()) {
      if (found.length >= limit) break;
      const decision = kept.shown();
      if (test(decision)) found.push(decision);
    }
    return found;
  }

  find(id: number): Decision | undefined {
    return this.#ring.find((each) => each.id === id)?.shown();
  }

  /** Those that a policy judged, the oldest first: for policy/replay. */
  recorded(): readonly RecordedDecision[] {
    return this.list(
      Number.POSITIVE_INFINITY,
      ({ reason }) => reason !== 'sender' && reason !== 'recipient',
    ).toReversed();
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

  *#newestFirst(): Generator<KeptDecision> {
    const { length } = this.#ring;
    for (let back = 1; back <= length; back += 1) {
      const kept = this.#ring[(this.#next - back + 2 * length) % length];
      if (kept !== undefined) yield kept;
    }
  }

  #decided(event: Of<'decision'>): void {
    const { session } = event.peer;
    const now = this.#now();
    const kept = this.#place();
    kept.judged(this.#id(now), now, event, this.#shadowsOf(event));
    this.#await(session, kept);
    if (this.#feeds.size > 0) this.#tell(kept);
  }

  #replied(event: Of<'recipient'>): void {
    const { peer, to, result, code, reply, verdict } = event;
    const kept = this.#waiting === 0 ? undefined : this.#found(peer.session, to);
    if (kept === undefined) {
      if (verdict === undefined && result !== 'accepted') this.#refused(event, 'recipient', result, code);
      return;
    }
    kept.replied(result, code, reply);
    if (this.#feeds.size === 0) return;
    const { id } = kept;
    const decision = kept.shown();
    const item = once(() => new FeedItem('reply', { id, result, code, reply }));
    for (const feed of this.#feeds) if (feed.test(decision)) feed.replied(id, item);
  }

  #refused(
    event: Omit<Of<'sender-refused'>, 'type'> & { readonly to: string },
    reason: 'sender' | 'recipient',
    result: Reply['result'],
    code: number,
  ): void {
    const now = this.#now();
    const kept = this.#place();
    kept.refused(this.#id(now), now, event, VERDICTS[result], reason);
    kept.replied(result, code, event.reply);
    if (this.#feeds.size > 0) this.#tell(kept);
  }

  /** What shadow rules said to it. They come right before their decision, in one go. */
  #shadowsOf({ peer, to }: Of<'decision'>): readonly ShadowVerdict[] | undefined {
    if (this.#shadows.length === 0) return undefined;
    const shadows = this.#shadows
      .filter((each) => each.peer.session === peer.session && each.to === to)
      .map(({ rule, would }) => ({ rule, would }));
    this.#shadows = [];
    return shadows;
  }

  /** From now on the reply to it may come. */
  #await(session: string, kept: KeptDecision): void {
    if (this.#waiting >= AWAITED) this.#giveUp();
    // Of the same recipient it is the last one that is replied to.
    if (this.#waiting > 0) this.#found(session, kept.to);
    kept.awaited = true;
    kept.earlier = this.#awaited.get(session);
    this.#awaited.set(session, kept);
    this.#waiting += 1;
  }

  /** The one that awaits this reply, which it does no longer. */
  #found(session: string, to: string): KeptDecision | undefined {
    let later: KeptDecision | undefined;
    let kept = this.#awaited.get(session);
    while (kept !== undefined && kept.to !== to) {
      later = kept;
      kept = kept.earlier;
    }
    if (kept === undefined) return undefined;
    if (later !== undefined) later.earlier = kept.earlier;
    else if (kept.earlier !== undefined) this.#awaited.set(session, kept.earlier);
    else this.#awaited.delete(session);
    kept.awaited = false;
    kept.earlier = undefined;
    this.#waiting -= 1;
    return kept;
  }

  /** Those of the session that waits longest await nothing any more. */
  #giveUp(): void {
    for (const [session, last] of this.#awaited) {
      for (let kept: KeptDecision | undefined = last; kept !== undefined; kept = kept.earlier) {
        kept.awaited = false;
        this.#waiting -= 1;
      }
      this.#awaited.delete(session);
      return;
    }
  }

  #id(now: number): number {
    // In the millisecond and the process' own residue, or where there were more in it, further on.
    if (this.#process === undefined) this.#last += 1;
    else this.#last = Math.max(this.#last + PROCESSES, now * IDS_A_MILLISECOND + (this.#process % PROCESSES));
    return this.#last;
  }

  /** For the next one: the oldest of a full ring, unless it may still be spoken of. */
  #place(): KeptDecision {
    const oldest = this.#ring[this.#next];
    const place = oldest === undefined || oldest.awaited ? new KeptDecision() : oldest;
    this.#ring[this.#next] = place;
    this.#next = (this.#next + 1) % this.#kept;
    return place;
  }

  #tell(kept: KeptDecision): void {
    const decision = kept.shown();
    const item = once(() => new FeedItem('decision', decision));
    for (const feed of this.#feeds) if (feed.test(decision)) feed.decided(decision, item);
  }
}
