/** What the state store holds, by hand. */
import type { Command } from 'commander';
import { EXIT_CODES, json, lazily, storeOf } from './options.js';

export const addState = (program: Command): void => {
  const logins = program
    .command('logins')
    .description('logins that may not be used for a while')
    .addHelpText('after', EXIT_CODES);
  logins
    .command('suspended')
    .description('who is suspended, until when and why')
    .addOption(storeOf())
    .addOption(json())
    .action(lazily(async () => (await import('../commands/logins.js')).suspendedLogins));
  logins
    .command('suspend')
    .description('no more logging in; its windows close, its open sessions relay no longer')
    .argument('<login>', 'as the log writes it')
    .option('--for <time>', 'such as 24h, at most 720h; without it: until lifted')
    .option('--why <text>', 'for those who come after you', 'by hand')
    .addOption(storeOf())
    .addOption(json())
    .action(lazily(async () => (await import('../commands/logins.js')).suspendLogin));
  logins
    .command('lift')
    .description('a suspended login may be used again')
    .argument('<login>')
    .addOption(storeOf())
    .addOption(json())
    .action(lazily(async () => (await import('../commands/logins.js')).liftLogin));

  const bans = program
    .command('bans')
    .description('addresses that are not let in for a while')
    .addHelpText('after', EXIT_CODES);
  bans
    .command('list')
    .description('who is banned, until when and why')
    .addOption(storeOf())
    .addOption(json())
    .action(lazily(async () => (await import('../commands/bans.js')).listBans));
  bans
    .command('add')
    .description("no more connections from there, but the site's own networks; of an IPv6 address its /64")
    .argument('<address>')
    .option('--for <time>', 'such as 24h, at most 720h; without it: until lifted')
    .option('--why <text>', 'for those who come after you', 'by hand')
    .addOption(storeOf())
    .addOption(json())
    .action(lazily(async () => (await import('../commands/bans.js')).addBan));
  bans
    .command('lift')
    .description('a banned address may connect again, and its count begins anew')
    .argument('<address>')
    .addOption(storeOf())
    .addOption(json())
    .action(lazily(async () => (await import('../commands/bans.js')).liftBan));

  const windows = program
    .command('windows')
    .description('addresses from which a login was proven and may send for a while')
    .addHelpText('after', EXIT_CODES);
  windows
    .command('list')
    .description('open ones')
    .addOption(storeOf())
    .addOption(json())
    .action(lazily(async () => (await import('../commands/windows.js')).listWindows));
  windows
    .command('open')
    .description('by hand, as long as roaming says; the policy knows it as window: api')
    .argument('<login>')
    .argument('<address>')
    .addOption(storeOf())
    .addOption(json())
    .action(lazily(async () => (await import('../commands/windows.js')).openWindow));
  windows
    .command('renew')
    .description('from now, if it is still open')
    .argument('<login>')
    .argument('<address>')
    .addOption(storeOf())
    .addOption(json())
    .action(lazily(async () => (await import('../commands/windows.js')).renewWindow));
  windows
    .command('close')
    .description('those that match all that is given')
    .option('--login <login>', 'whose')
    .option('--address <ip>', 'where; of an IPv6 address its /64')
    .addOption(storeOf())
    .addOption(json())
    .action(lazily(async () => (await import('../commands/windows.js')).closeWindows));

  const store = program
    .command('store')
    .description('where windows, marks and counts are kept')
    .addHelpText('after', EXIT_CODES);
  store
    .command('compact')
    .description('makes the file of an LMDB store as small as what it holds; with sekisho serve stopped')
    .addOption(storeOf())
    .addOption(json())
    .action(lazily(async () => (await import('../commands/store.js')).compact));
};
