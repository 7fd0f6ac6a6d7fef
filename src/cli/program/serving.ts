/** The proxy itself, and its demonstration. */
import { type Command, Option } from 'commander';
import { config, EXIT_CODES, gather, lazily, localDomain, policy, trust } from './options.js';

export const addServing = (program: Command): void => {
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
    .option('--processes <n>', 'how many processes serve, or auto: one a core; default 1')
    .addHelpText(
      'after',
      `
Flags override the configuration file. When it is ready, one line on standard output says where it listens.
SIGHUP reloads the policy (its tests run first; on a fault the old one stays), SIGTERM drains, a second one stops.
With several processes, SIGUSR2 replaces them one after the other by new ones, without refusing a connection.
${EXIT_CODES}`,
    )
    .action(lazily(async () => (await import('../commands/serve.js')).serve));

  // One of several: started by `serve`, and by nobody else.
  program
    .command('process', { hidden: true })
    .action(lazily(async () => (await import('../commands/process.js')).serveAsOneOf));

  program
    .command('demo')
    .description(
      'an embedded open relay with Sekisho in front: see a relay refused and a local mail accepted',
    )
    .option('--once', 'show it and end')
    .action(lazily(async () => (await import('../commands/demo.js')).demo));
};
