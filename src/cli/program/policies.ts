/** Questions to a policy, without a proxy. */
import { type Command, Option } from 'commander';
import { TLS_VERSIONS } from '../../base/tls-versions.js';
import { WINDOW_SOURCES } from '../../windows/window.js';
import { config, gather, json, lazily, localDomain, policy, trust } from './options.js';

export const addPolicies = (program: Command): void => {
  program
    .command('check')
    .description('check a configuration and its policy, and run the tests in the policy')
    .addOption(config())
    .addOption(policy())
    .action(lazily(async () => (await import('../commands/check.js')).check));

  program
    .command('explain')
    .description('which rules are considered for a mail, and why the verdict is as it is')
    .addOption(config())
    .addOption(policy())
    .addOption(localDomain())
    .addOption(trust())
    .requiredOption('--client <ip>', "the client's IP address")
    .requiredOption('--from <address>', "envelope sender; '<>' for the null sender")
    .requiredOption('--to <address>', 'envelope recipient')
    .option('--client-name <name>', 'confirmed host name of the client; without it: not known')
    .option('--listener <name>', 'listener the client connected to', 'mx')
    .option('--helo <name>', 'HELO or EHLO argument', '')
    .addOption(
      new Option('--tls <version>', 'TLS version in force; without it: clear text').choices(TLS_VERSIONS),
    )
    .option('--login <name>', 'who logged in; without it: nobody')
    .option(
      '--window <source>',
      `an open window of the client: ${WINDOW_SOURCES.join(', ')}, with :LOGIN behind it if you like, or unknown; without it the store of --config is asked, or there is none`,
    )
    .addOption(
      new Option('--listed <list>', 'a DNS list that has the client, by name; repeatable').argParser(gather),
    )
    .option(
      '--certificate <fingerprint>',
      "the client's certificate, sha256:… as in a policy; goes with --tls",
    )
    .option('--subject <name>', "the certificate's subject, verified")
    .option('--json', 'for programs')
    .action(lazily(async () => (await import('../commands/explain.js')).explainCommand));

  program
    .command('replay')
    .description(
      'what another policy would have said to the mail in a log: differences by rule, with examples',
    )
    .argument('<log...>', "Sekisho's JSON log, plain or gzip; - is standard input")
    .requiredOption('--policy <file>', 'the candidate')
    .option('--against <file>', 'compare with this policy rather than with the verdicts in the log')
    .option('--examples <number>', 'examples shown of each difference', '3')
    .option('--json', 'for programs')
    .addHelpText(
      'after',
      `
Exit codes:
  0  every verdict stays        1  some verdict would change
  2  fault in a policy, the log or the command line, or nothing could be compared`,
    )
    .action(lazily(async () => (await import('../commands/replay.js')).replayCommand));

  program
    .command('address')
    .description('every reading of an address: all the places a mail server might send it')
    .argument('<address...>')
    .option('--json', 'for programs')
    .action(lazily(async () => (await import('../commands/address.js')).address));

  program
    .command('patches')
    .description('virtual patches: what each looks at, its limit, its reply, and the holes that it closes')
    .addOption(json())
    .action(lazily(async () => (await import('../commands/patches.js')).patches));
  program
    .command('import')
    .description("a policy from an old server's own files")
    .argument('<system>', 'sendmail, postfix, qmail or exim')
    .argument('<dir>', 'where its files are, such as /etc/mail, or the output of postconf -n')
    .option('--output <file>', 'write the policy there; a file that is there is never overwritten')
    .option('--diff', 'what the old server would have answered and what Sekisho will, for a sample of mail')
    .option('--log <file>', 'with --diff: for the mail in a log of Sekisho (--observe lets everything pass)')
    .option('--json', 'for programs')
    .addHelpText(
      'after',
      `
The policy goes to standard output, what was left out and why to standard error. Nothing that makes an open relay
is taken over.`,
    )
    .action(lazily(async () => (await import('../commands/import.js')).importCommand));

  program
    .command('upstream')
    .description('what a mail server says it is, which known holes it has, and which of them Sekisho closes')
    .argument('<host:port>')
    .addOption(json())
    .action(lazily(async () => (await import('../commands/upstream.js')).upstream));
};
