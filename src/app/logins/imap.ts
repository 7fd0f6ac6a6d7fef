/** `imap: mail.example.org:993`: passwords are tried at an IMAP server. */
import { z } from 'zod';
import { imapStore } from '../../identity/stores/imap.js';
import { endpoint, PASSWORD_SERVER_FIELDS, passwordServer, Server } from './remote.js';

const Imap = z.strictObject(
  { imap: Server, ...PASSWORD_SERVER_FIELDS },
  { error: 'must be a map with imap: HOST:PORT' },
);

export const imap = passwordServer('imap', Imap, (entry) => endpoint(entry.imap), imapStore);
