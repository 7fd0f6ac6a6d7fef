/** Questions to a host: which mail servers it has, and how its Sekisho does. */
import type { Command } from 'commander';
import { config, EXIT_CODES, json, lazily } from './options.js';

export const addHost = (program: Command): void => {
  program
    .command('audit')
    .description('mail servers on this host, or in a copy of another: what runs, what starts, how to stop it')
    .option('--root <dir>', "a copy of another host's files (its /etc at least) instead of this host")
    .option('--ps <file>', 'what "ps -ef" or "ps ax" printed there')
    .option('--sockets <file>', 'what "netstat -an", "ss -ltnp", "sockstat -l" or "lsof -i" printed there')
    .addOption(json())
    .addHelpText(
      'after',
      `
It changes nothing. As root it sees which process has which socket.
${EXIT_CODES.replace('checks failed, no such address, or nothing matched', 'a server runs or will start that other hosts can reach')}`,
    )
    .action(lazily(async () => (await import('../commands/audit.js')).audit));
  program
    .command('doctor')
    .description('is this installation as safe as you believe? ways around it, trust, clients, files, limits')
    .requiredOption('--config <file>', 'configuration file (sekisho.yaml)')
    .option('--log <file>', "Sekisho's JSON log, plain or gzip, or - for standard input: who its clients are")
    .option('--timeout <seconds>', 'for each answer', '10')
    .addOption(json())
    .addHelpText(
      'after',
      `
It looks, asks and connects, and changes nothing. Best as root on the host that Sekisho runs on.

Exit codes:
  0  nothing to mend        1  faults or warnings        2  the configuration or the log cannot be read`,
    )
    .action(lazily(async () => (await import('../commands/doctor.js')).doctor));
  program
    .command('probe')
    .description('does this mail server relay? every relay form, stopping at RCPT: nothing is delivered')
    .argument('<host>', 'HOST or HOST:PORT; only your own')
    .argument(
      '[again]',
      'the same once more, for a host that is neither this machine nor at a private address',
    )
    .option('--domain <name>', 'a domain that it takes mail for; by default that of its greeting')
    .option('--sender <domain>', 'whose sender is used', 'sender.example')
    .option('--victim <domain>', 'to whom relaying is tried', 'victim.example')
    .option('--timeout <seconds>', 'for each reply', '30')
    .addOption(json())
    .addHelpText(
      'after',
      `
Exit codes:
  0  closed        1  an open relay, or it may be one        2  a fault, or it cannot be told`,
    )
    .action(lazily(async () => (await import('../commands/probe.js')).probeCommand));
  program
    .command('tproxy')
    .description(
      "routes and rules of nftables by which the mail server sees clients' own addresses, and which bring a gateway's connections here",
    )
    .addOption(config())
    .option('--print', 'a script to copy and paste')
    .option('--apply', 'put them in force, as often as you like; as root')
    .option('--remove', 'take back what --apply made, and nothing else')
    .addHelpText(
      'after',
      `
Without any of the three: whether what the configuration needs is there. Table of nftables: sekisho_tproxy.
${EXIT_CODES}`,
    )
    .action(lazily(async () => (await import('../commands/tproxy.js')).tproxy));
};
