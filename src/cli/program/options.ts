/** What several commands of the command line share. */
import { Option } from 'commander';

/** What a command needs is loaded when it runs: `sekisho address` needs no proxy. */
export const lazily =
  <A extends unknown[]>(load: () => Promise<(...args: A) => void | Promise<void>>) =>
  async (...args: A): Promise<void> =>
    (await load())(...args);

export const gather = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];

export const localDomain = (): Option =>
  new Option(
    '--local-domain <name>',
    'domain whose mail the server takes; .name is name and all below it; repeatable',
  ).argParser(gather);

export const trust = (): Option =>
  new Option(
    '--trust <cidr>',
    'network that may send anywhere; nothing is trusted unless listed, loopback included; repeatable',
  ).argParser(gather);

export const policy = (): Option => new Option('--policy <file>', 'policy file');
export const config = (): Option => new Option('--config <file>', 'configuration file (sekisho.yaml)');

/** For the commands on the state store. */
export const storeOf = (): Option =>
  new Option(
    '--config <file>',
    'configuration file that names the store: lmdb or redis',
  ).makeOptionMandatory();
export const json = (): Option => new Option('--json', 'for programs');

export const EXIT_CODES = `
Exit codes:
  0  done        1  checks failed, no such address, or nothing matched
  2  fault in configuration, policy or command line, or a store that does not answer`;
