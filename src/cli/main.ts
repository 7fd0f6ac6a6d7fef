#!/usr/bin/env node
/** argv to a command, and a command's outcome to an exit code: 0 fine, 1 checks failed or nothing matched, 2 configuration faults. */
import { Command, CommanderError } from 'commander';
import { VERSION } from '../app/version.js';
import { addHost } from './program/host.js';
import { EXIT_CODES } from './program/options.js';
import { addPolicies } from './program/policies.js';
import { addServing } from './program/serving.js';
import { addState } from './program/state.js';
import { addUsers } from './program/users.js';

const program = new Command('sekisho')
  .description(
    'SMTP relay-policy filter proxy: closes the open relay of a mail server that can no longer be patched.',
  )
  .version(VERSION, '--version')
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

// In the order of the help text.
for (const add of [addServing, addPolicies, addUsers, addState, addHost]) add(program);

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
