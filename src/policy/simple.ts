/** The policy of a command line: `--local-domain` and `--trust`, without a file. */
import { parseCidr } from '../base/ip.js';
import { err, type Result } from '../base/result.js';
import { loadPolicy, type Policy } from './compile.js';
import { parseDomainEntry } from './domain-set.js';
import { type PolicyError, splitRemedy } from './errors.js';
import { isBareWord } from './lists.js';

export interface SimpleOptions {
  /** Domains as in a policy: `example.org`, or `.example.org` with all below. At least one. */
  readonly localDomains: readonly string[];
  /** Networks that may send anywhere: CIDR blocks, addresses, or `loopback`. */
  readonly trust: readonly string[];
}

const FILE = 'command line';

const fault = (key: string, message: string, remedy = ''): PolicyError => ({
  file: FILE,
  line: 1,
  column: 1,
  key,
  message,
  remedy,
});

const entryFault = (key: string, text: string): PolicyError => {
  const { message, remedy } = splitRemedy(text);
  return fault(key, message, remedy);
};

const domainFaults = (text: string): PolicyError[] => {
  const key = `--local-domain ${text}`;
  const entry = parseDomainEntry(text);
  if (!entry.ok) return [entryFault(key, entry.error)];
  if (entry.value.kind !== 'domain') return [fault(key, 'not a domain', 'Write the domain alone.')];
  return isBareWord(text) ? [fault(key, 'has no dot', 'Write the whole domain.')] : [];
};

const trustFaults = (text: string): PolicyError[] => {
  const cidr = text === 'loopback' ? undefined : parseCidr(text);
  return cidr === undefined || cidr.ok ? [] : [entryFault(`--trust ${text}`, cidr.error)];
};

/**
 * Rule "inbound" lets everybody send to `localDomains`, rule "trusted networks" lets `trust` send anywhere.
 * Errors name the option; a `trust` that is everybody is refused, since a command line has no `i_know`.
 */
export const simplePolicy = ({
  localDomains,
  trust,
}: SimpleOptions): Result<Policy, readonly PolicyError[]> => {
  const faults = [...localDomains.flatMap(domainFaults), ...trust.flatMap(trustFaults)];
  if (localDomains.length === 0)
    faults.push(fault('--local-domain', 'missing', 'Name the domains that the mail server takes mail for.'));
  if (faults.length > 0) return err(faults);
  const inbound = { name: 'inbound', allow: { to: 'local' } };
  const trusted = { name: 'trusted networks', allow: { client: trust } };
  // JSON is YAML, so the command line goes the way of every other policy.
  const text = JSON.stringify({
    version: 1,
    domains: { local: localDomains },
    rules: trust.length > 0 ? [inbound, trusted] : [inbound],
  });
  const policy = loadPolicy(FILE, text, () => err('a command line names no files'));
  if (policy.ok) return policy;
  return err(policy.error.map(({ message }) => fault('--trust', message, 'Name your own networks only.')));
};
