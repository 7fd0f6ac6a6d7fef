/** `pop3: mail.example.org:995`: passwords are tried at a POP3 server. */
import { z } from 'zod';
import { pop3Store } from '../../identity/stores/pop3.js';
import { endpoint, PASSWORD_SERVER_FIELDS, passwordServer, Server } from './remote.js';

const Pop3 = z.strictObject(
  { pop3: Server, ...PASSWORD_SERVER_FIELDS },
  { error: 'must be a map with pop3: HOST:PORT' },
);

export const pop3 = passwordServer('pop3', Pop3, (entry) => endpoint(entry.pop3), pop3Store);
