/** `http: https://auth.example.org/mail`: a service that speaks the protocol of nginx' `auth_http` is asked. */
import { z } from 'zod';
import { NginxHttpStore } from '../../identity/stores/nginx-http.js';
import { oneOf } from '../config-fields.js';
import {
  ATTEMPT_FIELDS,
  attemptsOf,
  DOMAIN_FIELD,
  namesOf,
  staysHere,
  TLS_FIELDS,
  tlsFaults,
  tlsOf,
} from './remote.js';
import type { LoginSource } from './source.js';

const urlError = 'must be a URL such as https://auth.example.org/mail';
const headerError =
  'must be a map of header names to values on one line, none of them Auth-…, Client-… or Host';
const provesError = 'must be a list of password, cram-md5, external';

/** `http:` or `https:` without user, password and fragment. */
const urlOf = (text: string): URL | undefined => {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const plain = url.username === '' && url.password === '' && url.hash === '';
  return plain && (url.protocol === 'http:' || url.protocol === 'https:') ? url : undefined;
};

/** RFC 9110 5.1, 5.5; our own are not to be overridden. */
const OWN_HEADER = /^(?:auth-.*|client-.*|host|connection|content-length|transfer-encoding)$/i;
const isHeader = (name: string, value: string): boolean =>
  /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/.test(name) &&
  !OWN_HEADER.test(name) &&
  /^[\x20-\x7e]{0,4096}$/.test(value);

const Entry = z.strictObject(
  {
    http: z.string({ error: urlError }).refine((text) => urlOf(text) !== undefined, {
      error: `${urlError}, without a user or password in it`,
    }),
    headers: z
      .record(z.string(), z.string({ error: headerError }), { error: headerError })
      .refine((headers) => Object.entries(headers).every(([name, value]) => isHeader(name, value)), {
        error: headerError,
      })
      .optional(),
    proves: z
      .array(oneOf(['password', 'cram-md5', 'external']), { error: provesError })
      .min(1, provesError)
      .optional(),
    ...ATTEMPT_FIELDS,
    ...TLS_FIELDS,
    // Whether there is TLS is in the URL; `none` says that clear text over a network is meant.
    tls: z.literal('none', { error: 'must be none; for TLS write https: in the URL' }).optional(),
    ...DOMAIN_FIELD,
  },
  { error: 'must be a map with http: URL' },
);

const modeOf = (url: URL | undefined): 'none' | 'implicit' =>
  url?.protocol === 'https:' ? 'implicit' : 'none';

export const http: LoginSource<typeof Entry> = {
  key: 'http',
  schema: Entry,
  check: (entry, tools) => {
    const url = urlOf(entry.http);
    const mode = modeOf(url);
    const faults = tlsFaults(entry, mode, tools);
    const host = url?.hostname.replace(/^\[|\]$/g, '') ?? '';
    if (mode === 'implicit' && entry.tls === 'none')
      faults.push('tls: none and https: contradict one another.');
    if (mode === 'none' && entry.tls === undefined && !staysHere(host))
      faults.push(`passwords would go to ${host} in clear text. Use https:, or say tls: none.`);
    return faults;
  },
  create: (entry, tools) => {
    const url = urlOf(entry.http);
    if (url === undefined) throw new Error(`http: ${urlError}`);
    return new NginxHttpStore({
      url,
      tls: { ...tlsOf(entry, 'none', tools), mode: modeOf(url) },
      ...attemptsOf(entry),
      names: namesOf(entry),
      proves: entry.proves ?? ['password'],
      headers: entry.headers ?? {},
    });
  },
};
