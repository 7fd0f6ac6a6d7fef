#!/usr/bin/env node
/** argv to a command, and a command's outcome to an exit code: 0 fine, 1 checks failed, 2 configuration faults. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import { address } from './commands/address.js';
import { check } from './commands/check.js';
import { demo } from './commands/demo.js';
import { explainCommand } from './commands/explain.js';
import { serve } from './commands/serve.js';

const version = (): string => {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
};

const gather = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];

const localDomain = (): Option =>
  new Option(
    '--local-domain <name>',
    'domain whose mail the server takes; .name is name and all below it; repeatable',
  ).argParser(gather);

const trust = (): Option =>
  new Option(
    '--trust <cidr>',
    'network that may send anywhere; nothing is trusted unless listed, loopback included; repeatable',
  ).argParser(gather);

const policy = (): Option => new Option('--policy <file>', 'policy file');
const config = (): Option => new Option('--config <file>', 'configuration file (sekisho.yaml)');

const EXIT_CODES = `
Exit codes:
  0  done        1  checks failed, or no such address        2  fault in configuration, policy or command line`;

const program = new Command('sekisho')
  .description(
    'SMTP relay-policy filter proxy: closes the open relay of a mail server that can no longer be patched.',
  )
  .version(version(), '--version')
  .exitOverride()
  .configureHelp({ sortSubcommands: false })
  .showSuggestionAfterError()
  .addHelpText(
    'after',
    `
Examples:
  Close a relay (the old server listens on port 2525 of this host):
    sekisho serve --listen 0.0.0.0:25 --upstream 127.0.0.1:2525 \\
      --local-domain example.org --trust 192.0.2.0/24
  See what it does without any set-up:
    sekisho demo
  Why would this be refused?
    sekisho explain --policy policies/campus.yaml --client 203.0.113.9 \\
      --from x@spam.example --to y@victim.example
${EXIT_CODES}`,
  );

program
  .command('serve')
  .description('stand in front of a mail server')
  .addOption(config())
  .addOption(
    new Option(
      '--listen <addr:port>',
      'where clients connect; [v6]:port, or a port alone for all addresses; repeatable; default 25',
    ).argParser(gather),
  )
  .addOption(
    new Option('--upstream <host:port>', 'the mail server; repeatable, in order of preference').argParser(
      gather,
    ),
  )
  .addOption(localDomain())
  .addOption(trust())
  .addOption(policy())
  .option('--observe', 'judge, log and count, but let everything pass')
  .option('--log <format>', 'json or classic (syslog-shaped lines)')
  .option('--log-level <level>', 'debug, info, warn or error')
  .addHelpText(
    'after',
    `
Flags override the configuration file. When it is ready, one line on standard output says where it listens.
SIGHUP reloads the policy (its tests run first; on a fault the old one stays), SIGTERM drains, a second one stops.
${EXIT_CODES}`,
  )
  .action(serve);

program
  .command('demo')
  .description('an embedded open relay with Sekisho in front: see a relay refused and a local mail accepted')
  .option('--once', 'show it and end')
  .action(demo);

program
  .command('check')
  .description('check a configuration and its policy, and run the tests in the policy')
  .addOption(config())
  .addOption(policy())
  .action(check);

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
    new Option('--tls <version>', 'TLS version in force; without it: clear text').choices([
      '1.0',
      '1.1',
      '1.2',
      '1.3',
    ]),
  )
  .option('--json', 'for programs')
  .action(explainCommand);

program
  .command('address')
  .description('every reading of an address: all the places a mail server might send it')
  .argument('<address...>')
  .option('--json', 'for programs')
  .action(address);

/** Whoever reads our output may stop reading. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  // Help and version are no faults; anything else about argv is one.
  process.exitCode = error.exitCode === 0 ? 0 : 2;
}
