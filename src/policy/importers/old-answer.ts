/** What the old server would have answered to a recipient, by its own files: the other side of a comparison. */
import { type Ip, spanCovers, spanOf } from '../../base/ip.js';
import { DomainSet, parseDomainEntry } from '../domain-set.js';
import type { Access, DomainItem, NamedItem, Site } from './site.js';

export interface Question {
  readonly client: Ip;
  /** Without brackets; `` for the null sender. */
  readonly from: string;
  readonly to: string;
}

export interface OldAnswer {
  readonly verdict: 'allow' | 'deny' | 'defer';
  readonly why: string;
}

const domainOf = (address: string): string => address.slice(address.lastIndexOf('@') + 1).toLowerCase();

const setOf = (items: readonly DomainItem[]): DomainSet =>
  DomainSet.of(
    items.flatMap(({ entry }) => {
      const read = parseDomainEntry(entry);
      return read.ok ? [read.value] : [];
    }),
  );

interface Compiled {
  readonly item: NamedItem;
  readonly set: DomainSet;
}

const compile = (items: readonly NamedItem[]): Compiled[] =>
  items.map((item) => ({ item, set: setOf([item]) }));

const firstFor = (items: readonly Compiled[], address: string): NamedItem | undefined =>
  items.find(({ set }) => set.has(domainOf(address)) || set.hasMailbox(address.toLowerCase()))?.item;

/** Local parts by which old servers send on. */
const routed = (address: string): boolean => /[%!@:]/.test(address.slice(0, address.lastIndexOf('@')));

const refusal = (what: string, { origin, reply }: Access): OldAnswer => ({
  verdict: reply !== undefined && reply.code < 500 ? 'defer' : 'deny',
  why: `${what}: ${origin.file}:${origin.line}`,
});

export type OldServer = (question: Question) => OldAnswer;

/** By the client's address, sender and recipient; what it decided by names is not known. Compiled once for many questions. */
export const oldServer = (site: Site): OldServer => {
  const recipients = compile(site.recipients);
  const senders = compile(site.senders);
  const taken = setOf([...site.local, ...site.relayed]);
  return ({ client, from, to }) => {
    const recipient = firstFor(recipients, to);
    if (recipient?.act === 'refuse') return refusal('recipient refused', recipient);
    const sender = firstFor(senders, from);
    if (sender?.act === 'refuse') return refusal('sender refused', sender);
    const own = site.clients.find(({ network }) => spanCovers(network, spanOf(client)));
    // With a 4xx it was put off, as the policy made of it does.
    if (own?.act === 'refuse') return refusal('client refused', own);
    if (own?.act === 'relay')
      return { verdict: 'allow', why: `client may relay: ${own.origin.file}:${own.origin.line}` };
    const opened = site.open[0];
    if (opened !== undefined) return { verdict: 'allow', why: opened.why };
    const inside = (taken.has(domainOf(to)) && !routed(to)) || taken.hasMailbox(to.toLowerCase());
    return inside
      ? { verdict: 'allow', why: 'recipient is taken' }
      : { verdict: 'deny', why: 'relaying denied' };
  };
};
