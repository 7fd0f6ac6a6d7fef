/** Every kind of entry that `logins:` may hold. */
import { certificates } from './certificates.js';
import { dovecot } from './dovecot.js';
import { http } from './http.js';
import { imap } from './imap.js';
import { ldap } from './ldap.js';
import { oauth } from './oauth.js';
import { passwdFile } from './passwd-file.js';
import { pop3 } from './pop3.js';
import type { LoginSource } from './source.js';
import { upstream } from './upstream.js';

export const LOGIN_SOURCES: readonly LoginSource[] = [
  ...[passwdFile, ldap, oauth, certificates, dovecot],
  ...[imap, pop3, upstream, http],
];
