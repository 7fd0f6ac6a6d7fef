/** What strangers have to earn although a rule lets them pass: not to be on DNS lists, and to come again. */
import type { Note } from '../base/events.js';
import type { Facts, Verdict } from '../policy/facts.js';
import { pathText } from '../smtp/address.js';
import type { Path } from '../smtp/path.js';
import { blockListed, greylisted, type Reply } from '../smtp/reply.js';
import type { StateStore } from '../windows/store.js';
import { Greylist } from './greylist.js';
import type { Asker } from './judge.js';
import { NO_SCREENING } from './options.js';
import type { Strangers } from './strangers.js';

/** The verdict as it is after the screening; `reply`: how it is told to the client, if a rule did not say it. */
export interface Screened {
  readonly verdict: Verdict;
  readonly reply?: Reply;
}

/** RFC 5321 4.5.1: whoever is refused everything else may still write to the postmaster, and say so. */
const isPostmaster = (address: string): boolean => /^postmaster(?:@|$)/i.test(address);

export class Screening {
  readonly #strangers: Strangers;
  readonly #greylist: Greylist;

  constructor(strangers: Strangers, state: StateStore, note: Note, now: () => number) {
    this.#strangers = strangers;
    this.#greylist = new Greylist(state, note, now);
  }

  /** Undefined: there is nothing to be earned. */
  screen(asker: Asker, to: Path, facts: Facts, verdict: Verdict): Promise<Screened> | undefined {
    const { dnsbl, greylist } = asker.screening ?? NO_SCREENING;
    const wait = verdict.greylist ?? greylist;
    if (verdict.kind !== 'allow' || (dnsbl === 'none' && wait === 0)) return undefined;
    if (facts.login !== undefined || verdict.window !== undefined) return undefined;
    return this.#strangers.knows(facts.client) ? undefined : this.#screen(asker, to, facts, verdict, wait);
  }

  async #screen(asker: Asker, to: Path, facts: Facts, verdict: Verdict, wait: number): Promise<Screened> {
    const { windows, client } = facts;
    const open =
      windows === undefined
        ? await this.#strangers.hasWindow(client)
        : windows.known && windows.value.length > 0;
    if (open) return { verdict };
    const listed = await this.#listed(asker, to, facts, verdict);
    if (listed.reply !== undefined || wait === 0) return listed;
    const question = { peer: asker.peer, client, from: facts.from.address, to: facts.to.address, wait };
    const left = await this.#greylist.early(question);
    if (left === 0) return listed;
    return {
      verdict: {
        ...listed.verdict,
        kind: 'defer',
        reason: 'greylisted',
        why: 'a stranger has to come again',
      },
      reply: greylisted(`<${pathText(to)}>`, Math.ceil(left / 1000)),
    };
  }

  async #listed(
    asker: Asker,
    to: Path,
    { client, to: { address } }: Facts,
    verdict: Verdict,
  ): Promise<Screened> {
    const { peer, screening = NO_SCREENING } = asker;
    if (screening.dnsbl === 'none' || isPostmaster(address)) return { verdict };
    const { lists, blocked } = await this.#strangers.listed(asker, client);
    if (!blocked) return { verdict };
    if (screening.dnsbl === 'shadow') {
      const shadow = { rule: `dnsbl of ${peer.listener}`, would: 'deny' } as const;
      return { verdict: { ...verdict, shadows: [...verdict.shadows, shadow] } };
    }
    return {
      verdict: { ...verdict, kind: 'deny', reason: 'listed', why: `the client is on ${lists.join(', ')}` },
      reply: blockListed(`<${pathText(to)}>`, client.text, lists),
    };
  }
}
