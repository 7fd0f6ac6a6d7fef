/** A file of users and passwords. */
import { type Command, Option } from 'commander';
import { NEW_SCHEMES } from '../../identity/stores/new-schemes.js';
import { EXIT_CODES, lazily } from './options.js';

export const addUsers = (program: Command): void => {
  const users = program
    .command('users')
    .description('keep a file of users and passwords, as passwd_file: reads it')
    .addHelpText(
      'after',
      `
Passwords are asked for on the terminal, or are the one line of standard input; never on the command line.
${EXIT_CODES}`,
    );

  const usersFile = (): Option => new Option('--file <file>', 'the file of users').makeOptionMandatory();
  const usersDomain = (): Option =>
    new Option('--domain <name>', 'what a bare name belongs to, as in the configuration');

  users
    .command('add')
    .description('add a user; the file is made if there is none')
    .argument('<name>', 'the login, such as alice@example.org')
    .addOption(usersFile())
    .addOption(
      new Option('--scheme <scheme>', 'how the password is kept').choices(NEW_SCHEMES).default('ARGON2ID'),
    )
    .option('--no-scram', 'no keys for SCRAM-SHA-256 beside it')
    .option(
      '--senders <list>',
      'what may stand in MAIL FROM: mailboxes, @domain, *; with commas between them',
    )
    .option('--replace', 'a new password for a user who is there')
    .addOption(usersDomain())
    .action(lazily(async () => (await import('../commands/users.js')).addUser));

  users
    .command('remove')
    .description('remove a user with all his lines')
    .argument('<name>')
    .addOption(usersFile())
    .addOption(usersDomain())
    .action(lazily(async () => (await import('../commands/users.js')).removeUser));

  users
    .command('list')
    .description('who is in the file, by what schemes, and what they may send as')
    .addOption(usersFile())
    .addOption(usersDomain())
    .option('--json', 'for programs')
    .action(lazily(async () => (await import('../commands/users.js')).listUsers));

  users
    .command('verify')
    .description('exit code 0 if the password is right and the user may log in, else 1')
    .argument('<name>')
    .addOption(usersFile())
    .addOption(usersDomain())
    .action(lazily(async () => (await import('../commands/users.js')).verifyUser));
};
