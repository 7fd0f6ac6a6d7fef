/** Named lists and inline entries, read and compiled. */
import { type Cidr, IpSet, parseCidr } from '../base/ip.js';
import { ok, type Result } from '../base/result.js';
import { type DomainEntry, DomainSet, parseDomainEntry } from './domain-set.js';
import { didYouMean, type KeyPath, printable } from './errors.js';
import { type EntryTypes, type FileList, type ListKind, ownEntry } from './importers/common.js';
import { readPlainList } from './importers/file.js';
import { readPostfixList } from './importers/postfix.js';
import { readSendmailList } from './importers/sendmail.js';
import { type EntryInput, LIST_NAME, type ListInput } from './schema.js';
import type { Source } from './source.js';

/** A list in both forms: compiled for look-up, and its entries for the checks at load time. */
export interface Networks {
  readonly set: IpSet;
  readonly entries: readonly Cidr[];
}

export interface Domains {
  readonly set: DomainSet;
  readonly entries: readonly DomainEntry[];
}

export const networksOf = (entries: readonly Cidr[]): Networks => ({ set: IpSet.of(entries), entries });
export const domainsOf = (entries: readonly DomainEntry[]): Domains => ({
  set: DomainSet.of(entries),
  entries,
});

const LOOPBACK: Networks = networksOf(
  ['127.0.0.0/8', '::1'].flatMap((text) => {
    const cidr = parseCidr(text);
    return cidr.ok ? [cidr.value] : [];
  }),
);

/** The lists of a policy. One that is named but faulty is there as `undefined`, so that its name is known. */
export interface Lists {
  readonly networks: ReadonlyMap<string, Networks | undefined>;
  readonly domains: ReadonlyMap<string, Domains | undefined>;
}

/** True for a word that can only be meant as the name of a list. `localhost` is a domain to old hosts. */
export const isBareWord = (text: string): boolean =>
  LIST_NAME.test(text) && text.toLowerCase() !== 'localhost';

const SENDMAIL_NAMES =
  'Its name must be local-host-names, sendmail.cw, relay-domains, sendmail.cR or access.';

const readListFile = <K extends ListKind>(
  kind: K,
  entry: Exclude<EntryInput, string>,
  path: string,
  text: string,
): Result<FileList<K>, string> => {
  if ('sendmail' in entry) return readSendmailList(kind, path, text);
  return ok('postfix' in entry ? readPostfixList(kind, text) : readPlainList(kind, text));
};

const entriesOfFile = <K extends ListKind>(
  kind: K,
  entry: Exclude<EntryInput, string>,
  at: KeyPath,
  source: Source,
): readonly EntryTypes[K][] => {
  const named = 'file' in entry ? entry.file : 'sendmail' in entry ? entry.sendmail : entry.postfix;
  const path = source.resolve(named);
  const text = source.readFile(path);
  if (!text.ok) {
    source.report(
      at,
      `cannot read ${printable(path)}: ${text.error}`,
      'Paths are relative to the policy file.',
    );
    return [];
  }
  const list = readListFile(kind, entry, path, text.value);
  if (!list.ok) {
    source.report(at, `${printable(path)}: ${list.error}`, SENDMAIL_NAMES);
    return [];
  }
  for (const fault of list.value.faults) source.reportIn(path, fault, at);
  return list.value.entries;
};

/** The entries of a named list; undefined once its faults have been reported. */
const readList = <K extends ListKind>(
  kind: K,
  input: ListInput,
  at: KeyPath,
  source: Source,
): readonly EntryTypes[K][] | undefined => {
  const faults = source.errors.length;
  const single = typeof input === 'string';
  const all: EntryTypes[K][] = [];
  for (const [i, entry] of (single ? [input] : input).entries()) {
    const here = single ? at : [...at, i];
    if (typeof entry !== 'string') {
      for (const each of entriesOfFile(kind, entry, here, source)) all.push(each);
      continue;
    }
    const read = ownEntry(kind)(entry);
    if (!read.ok) source.reportEntry(here, entry, read.error);
    else if (kind === 'domains' && isBareWord(entry))
      source.report(
        here,
        `"${printable(entry)}" has no dot`,
        'Lists hold domains, not other lists; write the whole domain.',
      );
    else all.push(read.value);
  }
  return source.errors.length > faults ? undefined : all;
};

/** `lists` holds those of good shape; `names` all that the policy gives. */
export interface ListInputs {
  readonly names: readonly string[];
  readonly lists: ReadonlyMap<string, ListInput>;
}

export const compileLists = (networks: ListInputs, domains: ListInputs, source: Source): Lists => {
  const nets = new Map<string, Networks | undefined>(networks.names.map((name) => [name, undefined]));
  for (const [name, input] of networks.lists) {
    if (name === 'loopback')
      source.report(['networks', name], 'loopback is built in: 127.0.0.0/8 and ::1', 'Choose another name.');
    const entries = readList('networks', input, ['networks', name], source);
    nets.set(name, entries && networksOf(entries));
  }
  nets.set('loopback', LOOPBACK);
  const doms = new Map<string, Domains | undefined>(domains.names.map((name) => [name, undefined]));
  for (const [name, input] of domains.lists) {
    if (name === 'null')
      source.report(['domains', name], 'null stands for the null sender', 'Choose another name.');
    const entries = readList('domains', input, ['domains', name], source);
    doms.set(name, entries && domainsOf(entries));
  }
  return { networks: nets, domains: doms };
};

/** The words of one condition, sorted out: named lists as they are, inline entries gathered into one more. */
export interface Resolved<L> {
  readonly lists: readonly L[];
  /** False if a word was faulty: then nothing may be concluded from what is missing. */
  readonly complete: boolean;
}

const noSuchList = (word: string, kind: ListKind, lists: Lists): { message: string; remedy: string } => {
  const other: ListKind = kind === 'networks' ? 'domains' : 'networks';
  const names = [...lists[kind].keys()];
  if (lists[other].has(word))
    return { message: `"${word}" is a list of ${other}`, remedy: `A list of ${kind} goes here.` };
  const otherwise = names.length === 0 ? '' : `There are: ${names.join(', ')}.`;
  return {
    message: `no such list of ${kind}: "${printable(word)}"`,
    remedy: didYouMean(word, names, otherwise),
  };
};

const resolveWords = <E, L>(
  kind: ListKind,
  words: readonly { readonly text: string; readonly at: KeyPath }[],
  lists: Lists,
  source: Source,
  form: {
    readonly named: ReadonlyMap<string, L | undefined>;
    readonly read: (text: string) => Result<E, string>;
    readonly gather: (entries: readonly E[]) => L;
    readonly bareAllowed: boolean;
  },
): Resolved<L> => {
  const found: L[] = [];
  const inline: E[] = [];
  let complete = true;
  for (const { text, at } of words) {
    const list = form.named.get(text);
    if (list !== undefined) found.push(list);
    else if (form.named.has(text)) complete = false;
    else if (isBareWord(text) && !form.bareAllowed) {
      const { message, remedy } = noSuchList(text, kind, lists);
      source.report(at, message, remedy);
      complete = false;
    } else {
      const entry = form.read(text);
      if (entry.ok) inline.push(entry.value);
      else source.reportEntry(at, text, entry.error);
      complete &&= entry.ok;
    }
  }
  return { lists: inline.length > 0 ? [...found, form.gather(inline)] : found, complete };
};

export type Word = { readonly text: string; readonly at: KeyPath };

export const resolveNetworks = (words: readonly Word[], lists: Lists, source: Source): Resolved<Networks> =>
  resolveWords('networks', words, lists, source, {
    named: lists.networks,
    read: parseCidr,
    gather: networksOf,
    bareAllowed: false,
  });

/** `bareAllowed`: a word without a dot that is no list is a name (HELO of a device). */
export const resolveDomains = (
  words: readonly Word[],
  lists: Lists,
  source: Source,
  bareAllowed: boolean,
): Resolved<Domains> =>
  resolveWords('domains', words, lists, source, {
    named: lists.domains,
    read: parseDomainEntry,
    gather: domainsOf,
    bareAllowed,
  });
