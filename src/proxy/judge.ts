/**
 * Gathers the facts about one recipient and asks the policy. Nearly always the answer is there at once; it
 * takes time only when the policy needs the client's name and nobody asked for it yet.
 */
import type { Note, Peer } from '../base/events.js';
import type { Ip } from '../base/ip.js';
import type { Policy } from '../policy/compile.js';
import { decide } from '../policy/decide.js';
import { envelopeFacts } from '../policy/envelope.js';
import type { Facts, Known, Verdict } from '../policy/facts.js';
import { pathText } from '../smtp/address.js';
import type { Path } from '../smtp/path.js';
import { deferred, relayingDenied, ruleReply } from '../smtp/reply.js';
import type { Judgement, Question } from '../smtp/session/events.js';
import type { ClientNames } from './names.js';

/** The policy in force. A transaction keeps the one with which it began. */
export interface Law {
  readonly policy: Policy;
  readonly observe: boolean;
}

/** Who asks: what of a session the verdict may depend on. */
export interface Asker {
  readonly peer: Peer;
  readonly client: Ip;
}

const NO_NAME: Known<string | undefined> = { known: false, why: 'nobody asked for the name of the client' };
const PERMIT: Judgement = { permit: true };

/** Facts about a recipient, in the form in which the policy compares them. */
export const factsOf = (
  { peer, client }: Asker,
  clientName: Known<string | undefined>,
  from: Path,
  to: Path,
): Facts => ({
  client,
  clientName,
  listener: peer.listener,
  ...(peer.tls === undefined ? {} : { tls: peer.tls }),
  helo: (peer.helo ?? '').toLowerCase(),
  ...envelopeFacts(from, to),
});

/** The verdict in words for the client. */
export const judgementOf = (verdict: Verdict, to: Path): Judgement => {
  if (verdict.kind === 'allow') return PERMIT;
  const address = `<${pathText(to)}>`;
  const cause = verdict.why;
  if (verdict.reply !== undefined) {
    const { code, enhanced, text } = verdict.reply;
    return { permit: false, reply: ruleReply(code, enhanced, text, cause) };
  }
  const reply = verdict.kind === 'deny' ? relayingDenied(address, false, cause) : deferred(address, cause);
  return { permit: false, reply };
};

export class Judge {
  readonly #names: ClientNames;
  readonly #note: Note;

  constructor(names: ClientNames, note: Note) {
    this.#names = names;
    this.#note = note;
  }

  /** The judgement, or a promise of it when a fact has to be fetched first. */
  judge(asker: Asker, law: Law, question: Question): Judgement | Promise<Judgement> {
    if (!law.policy.needs.clientName) return this.#decide(asker, law, question, NO_NAME);
    const name = this.#names.cached(asker.client);
    if (name !== undefined) return this.#decide(asker, law, question, name);
    return this.#names.lookUp(asker.client).then((found) => this.#decide(asker, law, question, found));
  }

  #decide(asker: Asker, law: Law, { from, to }: Question, name: Known<string | undefined>): Judgement {
    const { peer } = asker;
    if (name.known) peer.name = name.value;
    const verdict = decide(law.policy, factsOf(asker, name, from, to));
    const said = { peer, from: pathText(from), to: pathText(to) };
    for (const { rule, would } of verdict.shadows) this.#note({ type: 'shadow', ...said, rule, would });
    const { kind, rule, reason } = verdict;
    this.#note({ type: 'decision', ...said, verdict: kind, rule, reason, enforced: !law.observe });
    return law.observe ? PERMIT : judgementOf(verdict, to);
  }
}
