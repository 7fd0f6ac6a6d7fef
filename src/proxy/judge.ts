/**
 * Gathers the facts about one recipient and asks the policy. Nearly always the answer is there at once; it
 * takes time only when the policy needs the client's name and nobody asked for it yet, or when a rule that would
 * decide asks the state store: for windows, for a login's suspension, for a limit. What needs none of it goes on
 * while the store is down.
 */
import type { Note, Peer, Told } from '../base/events.js';
import type { Ip } from '../base/ip.js';
import type { CompiledRule, Policy } from '../policy/compile.js';
import { judge as rule, type Visit } from '../policy/decide.js';
import { envelopeFacts } from '../policy/envelope.js';
import type { Facts, Known, Verdict, WindowFact } from '../policy/facts.js';
import type { ConditionKey } from '../policy/schema.js';
import { pathText } from '../smtp/address.js';
import type { Path } from '../smtp/path.js';
import { deferred, overLimit, type Reply, relayingDenied, ruleReply } from '../smtp/reply.js';
import type { Judgement, Question } from '../smtp/session/events.js';
import { type StateStore, StoreError } from '../windows/store.js';
import { type Counted, LimitKeeper } from './limits.js';
import type { ClientNames } from './names.js';
import type { ScreeningOptions } from './options.js';
import type { Quotas } from './quotas.js';
import { Screening } from './screening.js';
import type { Strangers } from './strangers.js';

/** The policy in force. A transaction keeps the one with which it began. */
export interface Law {
  readonly policy: Policy;
  readonly observe: boolean;
}

/** Who asks: what of a session the verdict may depend on. */
export interface Asker {
  readonly peer: Peer;
  readonly client: Ip;
  /** The client could log in, and has not. */
  readonly loginOffered: boolean;
  /** What was said to the recipients of the transaction, by the forward-path, which is one object from command to reply. */
  readonly told: Map<Path, Told>;
  /** What the listener asks of strangers. */
  readonly screening?: ScreeningOptions;
}

const NO_NAME: Known<string | undefined> = { known: false, why: 'nobody asked for the name of the client' };
const NOT_STANDING = 'it is not known whether the login is suspended';
const PERMIT: Judgement = { permit: true };

/** A verdict, and what has to be fetched before it can be believed. */
class Finding {
  readonly verdict: Verdict;
  /** The facts that are not known, and for which rules that were judged wait. */
  open: Set<ConditionKey> | undefined;
  /** The rule that was judged last. */
  last: CompiledRule | undefined;

  constructor(
    policy: Policy,
    readonly facts: Facts,
  ) {
    this.verdict = rule(policy, facts, look, this);
  }

  waitsFor(key: ConditionKey): boolean {
    return this.open?.has(key) === true;
  }

  /** It allows because of who logged in. */
  get byLogin(): boolean {
    const { verdict, last } = this;
    return (
      verdict.kind === 'allow' &&
      this.facts.login !== undefined &&
      last?.name === verdict.rule &&
      last?.conditions.some(({ key }) => key === 'login') === true
    );
  }
}

const look: Visit<Finding> = (each, truth, finding) => {
  finding.last = each;
  if (truth !== 'unknown') return;
  finding.open ??= new Set();
  for (const condition of each.conditions)
    if (condition.holds(finding.facts) === 'unknown') finding.open.add(condition.key);
};

/** Facts about a recipient, in the form in which the policy compares them. */
export const factsOf = (
  { peer, client }: Asker,
  clientName: Known<string | undefined>,
  from: Path,
  to: Path,
): Facts => {
  const { listener, tls, login, certificate, helo } = peer;
  const envelope = envelopeFacts(from, to);
  return {
    client,
    clientName,
    listener,
    tls,
    login,
    certificate,
    windows: undefined,
    listed: undefined,
    helo: helo === undefined ? '' : helo.toLowerCase(),
    from: envelope.from,
    to: envelope.to,
  };
};

const usable = ({ used, budget }: WindowFact): boolean => budget === 0 || used < budget;
const proof = ({ login, source }: WindowFact): { login: string; source: string } => ({ login, source });

const toldOfVerdict = ({ kind, rule, reason }: Verdict, { windows, login }: Facts, peer: Peer): Told => {
  const told: Told = { verdict: kind, rule, reason };
  const suspended = login === undefined && peer.login !== undefined;
  if (windows?.known !== true) return suspended ? { ...told, suspended } : told;
  const open = windows.value.filter(usable).map(proof);
  return suspended ? { ...told, windows: open, suspended } : { ...told, windows: open };
};

/** The verdict in words for the client. */
export const judgementOf = (verdict: Verdict, to: Path, loginOffered = false): Judgement => {
  if (verdict.kind === 'allow') return PERMIT;
  const address = `<${pathText(to)}>`;
  const cause = verdict.why;
  if (verdict.reply !== undefined) {
    const { code, enhanced, text } = verdict.reply;
    return { permit: false, reply: ruleReply(code, enhanced, text, cause) };
  }
  const reply =
    verdict.kind === 'deny' ? relayingDenied(address, loginOffered, cause) : deferred(address, cause);
  return { permit: false, reply };
};

export class Judge {
  readonly #names: ClientNames;
  readonly #note: Note;
  readonly #limits: LimitKeeper;
  readonly #strangers: Strangers;
  readonly #screening: Screening;
  readonly #now: () => number;
  readonly #quotas: Quotas | undefined;
  /** By the reverse-path, which is one object for all recipients of a transaction. */
  readonly #counted = new WeakMap<Path, Counted>();

  constructor(
    names: ClientNames,
    strangers: Strangers,
    note: Note,
    state: StateStore,
    now: () => number,
    quotas?: Quotas,
  ) {
    this.#names = names;
    this.#note = note;
    this.#limits = new LimitKeeper(state, note);
    this.#strangers = strangers;
    this.#screening = new Screening(strangers, state, note, now);
    this.#now = now;
    this.#quotas = quotas;
  }

  /** The client's confirmed name, for whoever has to tell it. Does not reject. */
  nameOf(client: Ip): Known<string | undefined> | Promise<Known<string | undefined>> {
    return this.#names.cached(client) ?? this.#names.lookUp(client);
  }

  /** The judgement, or a promise of it when a fact has to be fetched or something counted first. */
  judge(asker: Asker, law: Law, question: Question): Judgement | Promise<Judgement> {
    if (!law.policy.needs.clientName) return this.#decide(asker, law, question, NO_NAME);
    const name = this.#names.cached(asker.client);
    if (name !== undefined) return this.#decide(asker, law, question, name);
    return this.#names.lookUp(asker.client).then((found) => this.#decide(asker, law, question, found));
  }

  #decide(
    asker: Asker,
    law: Law,
    question: Question,
    name: Known<string | undefined>,
  ): Judgement | Promise<Judgement> {
    if (name.known) {
      asker.peer.name = name.value;
      asker.peer.named = true;
    }
    const facts = factsOf(asker, name, question.from, question.to);
    const found = new Finding(law.policy, facts);
    if (!found.byLogin && !found.waitsFor('window') && !found.waitsFor('listed'))
      return this.#screen(asker, law, question, facts, found.verdict);
    return this.#settle(asker, law.policy, facts).then(({ verdict: settled, facts: seen }) =>
      this.#screen(asker, law, question, seen, settled),
    );
  }

  /** The verdict, and the facts that it rests on: all that it needs, and without a login that is suspended. */
  async #settle(asker: Asker, policy: Policy, given: Facts): Promise<{ verdict: Verdict; facts: Facts }> {
    let facts = given;
    let found = new Finding(policy, facts);
    for (;;) {
      const { client } = facts;
      if (found.waitsFor('window') && facts.windows === undefined)
        facts = { ...facts, windows: await this.#strangers.windows(client) };
      else if (found.waitsFor('listed') && facts.listed === undefined)
        facts = { ...facts, listed: { known: true, value: await this.#strangers.listed(asker, client) } };
      else break;
      found = new Finding(policy, facts);
    }
    const { verdict, byLogin } = found;
    const { login, ...anonymous } = facts;
    if (!byLogin || login === undefined) return { verdict, facts };
    const suspended = await this.#suspended(login);
    if (suspended === false) return { verdict, facts };
    const without = await this.#settle(asker, policy, anonymous);
    if (suspended || without.verdict.kind === 'allow') return without;
    const waits = { kind: 'defer', reason: 'unknown-fact', why: NOT_STANDING, reply: undefined } as const;
    return { verdict: { ...without.verdict, ...waits }, facts };
  }

  /** Undefined: it is not known. */
  async #suspended(login: string): Promise<boolean | undefined> {
    try {
      return await this.#limits.suspended(login, this.#now());
    } catch (error) {
      this.#storeError(error);
      return undefined;
    }
  }

  #storeError(error: unknown): string {
    if (!(error instanceof StoreError)) throw error;
    this.#note({ type: 'store-error', operation: error.operation, why: error.message });
    return error.message;
  }

  #screen(
    asker: Asker,
    law: Law,
    question: Question,
    facts: Facts,
    verdict: Verdict,
  ): Judgement | Promise<Judgement> {
    const screened = this.#screening.screen(asker, question.to, facts, verdict);
    if (screened === undefined) return this.#conclude(asker, law, question, facts, verdict);
    return screened.then(({ verdict: settled, reply }) =>
      this.#conclude(asker, law, question, facts, settled, reply),
    );
  }

  #conclude(
    asker: Asker,
    law: Law,
    { from, to }: Question,
    facts: Facts,
    verdict: Verdict,
    reply?: Reply,
  ): Judgement | Promise<Judgement> {
    const { peer } = asker;
    if (peer.window !== undefined) delete peer.window;
    const { window, limit, kind } = verdict;
    if (kind === 'allow' && window !== undefined)
      peer.window = { login: window.login, source: window.source };
    this.#tell(asker, law, facts, verdict, { from, to });
    if (law.observe) return PERMIT;
    if (reply !== undefined) return { permit: false, reply };
    const counts = limit !== undefined || (window?.budget ?? 0) > 0;
    if (kind !== 'allow') return judgementOf(verdict, to, asker.loginOffered);
    if (!counts) return this.#withinQuotas(asker, facts, from, to);
    return this.#spend(asker, verdict, facts, from, to).then((spent) =>
      spent.permit ? this.#withinQuotas(asker, facts, from, to) : spent,
    );
  }

  #withinQuotas({ peer, client }: Asker, facts: Facts, from: Path, to: Path): Judgement | Promise<Judgement> {
    if (this.#quotas === undefined || this.#quotas.none) return PERMIT;
    const actor = { peer, client, from: facts.from.address };
    const over = this.#quotas.countRecipient(actor, () => this.#countedOf(from));
    if (over === undefined) return PERMIT;
    return over.then((quota) => {
      if (quota === undefined) return PERMIT;
      return { permit: false, reply: overLimit(`<${pathText(to)}>`, quota.then, `quota ${quota.name}`) };
    });
  }

  #countedOf(from: Path): Counted {
    const counted = this.#counted.get(from) ?? new Set<string>();
    this.#counted.set(from, counted);
    return counted;
  }

  #tell(
    { peer, told: toldOf }: Asker,
    law: Law,
    facts: Facts,
    verdict: Verdict,
    { from, to }: Pick<Question, 'from' | 'to'>,
  ): void {
    const said = { from: pathText(from), to: pathText(to) };
    const { kind, rule, reason, shadows } = verdict;
    for (const shadow of shadows) this.#note({ type: 'shadow', peer, ...said, ...shadow, verdict: kind });
    const told = toldOfVerdict(verdict, facts, peer);
    toldOf.set(to, told);
    peer.judged = verdict;
    const enforced = !law.observe;
    // Nearly always that is all there is to tell.
    if (told.windows === undefined && told.suspended === undefined)
      this.#note({
        type: 'decision',
        peer,
        from: said.from,
        to: said.to,
        verdict: kind,
        rule,
        reason,
        enforced,
      });
    else this.#note({ type: 'decision', peer, ...said, ...told, enforced });
  }

  async #spend(asker: Asker, verdict: Verdict, facts: Facts, from: Path, to: Path): Promise<Judgement> {
    const address = `<${pathText(to)}>`;
    try {
      const spent = await this.#limits.spend(asker, verdict, facts, this.#countedOf(from), this.#now());
      if (spent === 'ok') return PERMIT;
      return { permit: false, reply: overLimit(address, spent, `limit of rule "${verdict.rule}"`) };
    } catch (error) {
      return { permit: false, reply: deferred(address, this.#storeError(error)) };
    }
  }
}
