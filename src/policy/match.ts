/**
 * The conditions of a rule, compiled. Each answers in three values, because a fact may not be known just
 * now, and each can say why. Look-ups here are the only ones that decide: `decide` and `explain` share them.
 */
import { type IpSet, parseIp } from '../base/ip.js';
import type { Reading } from '../smtp/path.js';
import type { DomainSet } from './domain-set.js';
import type { Facts } from './facts.js';
import type { ConditionKey, Verb } from './schema.js';

export type Truth = 'yes' | 'no' | 'unknown';

export interface Condition {
  readonly key: ConditionKey;
  /** As the policy has it: `campus, 203.0.113.4`. */
  readonly text: string;
  holds(facts: Facts): Truth;
  /** Why it holds, does not hold, or is not known: one line without a full stop, wire text unescaped. */
  why(facts: Facts): string;
}

const truth = (value: boolean): Truth => (value ? 'yes' : 'no');
const isIn = (value: boolean): string => (value ? 'is in' : 'is not in');

/** A condition that is always known. */
const known = (
  key: ConditionKey,
  text: string,
  test: (facts: Facts) => boolean,
  subject: (facts: Facts) => string,
): Condition => ({
  key,
  text,
  holds: (facts) => truth(test(facts)),
  why: (facts) => `${subject(facts)} ${isIn(test(facts))} ${text}`,
});

const inSome = (sets: readonly DomainSet[], domain: string): boolean => {
  for (const set of sets) if (set.has(domain)) return true;
  return false;
};

export const clientCondition = (text: string, sets: readonly IpSet[]): Condition =>
  known(
    'client',
    text,
    ({ client }) => {
      for (const set of sets) if (set.has(client)) return true;
      return false;
    },
    ({ client }) => client.text,
  );

export const listenerCondition = (text: string, names: ReadonlySet<string>): Condition =>
  known(
    'listener',
    text,
    ({ listener }) => names.has(listener),
    ({ listener }) => `listener ${listener === '' ? '(none)' : listener}`,
  );

/** HELO is a claim: good for refusing, never for trusting by itself. Address literals compare canonically. */
export const heloCondition = (text: string, sets: readonly DomainSet[]): Condition => {
  const test = ({ helo }: Facts): boolean => {
    const name = helo.endsWith('.') ? helo.slice(0, -1) : helo;
    if (!name.startsWith('[')) return inSome(sets, name.toLowerCase());
    const ip = parseIp(name.slice(1, -1).replace(/^ipv6:/i, ''));
    return ip !== undefined && sets.some((set) => set.hasLiteral(ip.text));
  };
  return known('helo', text, test, ({ helo }) => `HELO ${helo === '' ? '(none)' : helo}`);
};

/** Only the forward-confirmed name counts; a client without one matches no name. */
export const clientNameCondition = (text: string, sets: readonly DomainSet[]): Condition => ({
  key: 'client_name',
  text,
  holds: ({ clientName }) => {
    if (!clientName.known) return 'unknown';
    return truth(clientName.value !== undefined && inSome(sets, clientName.value));
  },
  why: ({ clientName }) => {
    if (!clientName.known) return `client_name is not known: ${clientName.why}`;
    if (clientName.value === undefined) return `the client has no confirmed name, ${text} needs one`;
    return `${clientName.value} ${isIn(inSome(sets, clientName.value))} ${text}`;
  },
});

/** What stands before the last `@`; the whole where there is none. */
const localPart = (address: string): string => {
  const at = address.lastIndexOf('@');
  return (at < 0 ? address : address.slice(0, at)).toLowerCase();
};

const mailboxIn = (sets: readonly DomainSet[], address: string, domain: string): boolean => {
  for (const set of sets) {
    if (set.hasMailboxAt(domain) && set.hasMailbox(`${localPart(address)}@${domain}`)) return true;
  }
  return false;
};

/** The null sender opens nothing: it is in no list, only the word `<>` (or `null`) names it. */
export const fromCondition = (text: string, sets: readonly DomainSet[], nullSender: boolean): Condition => {
  const withLiterals = sets.filter(({ counts }) => counts.literals > 0);
  const test = ({ from }: Facts): boolean => {
    if (from.address === '') return nullSender;
    if (inSome(sets, from.domain) || mailboxIn(sets, from.address, from.domain)) return true;
    if (withLiterals.length === 0) return false;
    const ip = parseIp(from.domain.replace(/^\[(?:ipv6:)?(.*)\]$/i, '$1'));
    return ip !== undefined && withLiterals.some((set) => set.hasLiteral(ip.text));
  };
  return known('from', text, test, ({ from }) => `<${from.address}>`);
};

/** True if one of the words of a routed local part, such as `secret%ours`, is a mailbox entry at `domain`. */
const hiddenMailbox = (sets: readonly DomainSet[], address: string, domain: string): boolean => {
  for (const set of sets) {
    if (!set.hasMailboxAt(domain)) continue;
    for (const word of localPart(address).split(/[%!:@"\\,^\s]+/))
      if (set.hasMailbox(`${word}@${domain}`)) return true;
  }
  return false;
};

/** `strict` for allow rules: a mailbox entry covers a reading only if the address is that mailbox as it stands. */
const readingIn = (
  sets: readonly DomainSet[],
  reading: Reading,
  address: string,
  strict: boolean,
): boolean => {
  switch (reading.kind) {
    case 'domain':
      if (inSome(sets, reading.domain) || mailboxIn(sets, address, reading.domain)) return true;
      return !strict && reading.via !== 'plain' && hiddenMailbox(sets, address, reading.domain);
    case 'literal':
      return sets.some((set) => set.hasLiteral(reading.ip));
    case 'postmaster':
      // RFC 5321 4.5.1: <postmaster> has to be accepted; it is the MTA's own and leads nowhere else.
      return strict;
    case 'unqualified':
      return false;
  }
};

const readingText = (reading: Reading): string => {
  if (reading.kind === 'domain') return `${reading.domain} (${reading.via})`;
  return reading.kind === 'literal' ? `[${reading.ip}]` : reading.kind;
};

/**
 * An address is where its readings are: `allow` needs every one of them in the list, `deny` and `defer`
 * need one.
 */
export const toCondition = (text: string, sets: readonly DomainSet[], verb: Verb): Condition => {
  const strict = verb === 'allow';
  const deciding = ({ to }: Facts): Reading | undefined => {
    for (const reading of to.readings)
      if (readingIn(sets, reading, to.address, strict) !== strict) return reading;
    return undefined;
  };
  const test = (facts: Facts): boolean =>
    facts.to.readings.length > 0 && (deciding(facts) === undefined) === strict;
  const why = (facts: Facts): string => {
    const { address, readings } = facts.to;
    const reading = deciding(facts);
    if (reading !== undefined)
      return `<${address}> may be read as ${readingText(reading)}, which ${isIn(!strict)} ${text}`;
    const all = readings.length > 1 ? ' in every reading' : '';
    return `<${address}> ${isIn(test(facts))} ${text}${all}`;
  };
  return { key: 'to', text, holds: (facts) => truth(test(facts)), why };
};
