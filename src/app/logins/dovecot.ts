/** `dovecot: /run/dovecot/auth-client` or `dovecot: host:port`: Dovecot's auth server is asked. */
import { z } from 'zod';
import { DovecotStore } from '../../identity/stores/dovecot.js';
import { NO_TLS, type PeerTls, type Place } from '../../identity/stores/peer.js';
import {
  ATTEMPT_FIELDS,
  attemptsOf,
  DOMAIN_FIELD,
  endpoint,
  namesOf,
  staysHere,
  TLS_FIELDS,
  tlsFaults,
  tlsOf,
} from './remote.js';
import type { LoginSource } from './source.js';

const placeError = "must be the path of Dovecot's auth-client socket, or a host and a port";
const modeError = 'must be none or implicit';

const Entry = z.strictObject(
  {
    dovecot: z
      .string({ error: placeError })
      .refine((place) => place.includes('/') || endpoint(place) !== undefined, { error: placeError }),
    ...ATTEMPT_FIELDS,
    ...TLS_FIELDS,
    // The protocol has no STARTTLS; `implicit` is for a listener with `ssl = yes`, or a tunnel.
    tls: z.enum(['none', 'implicit'], { error: modeError }).optional(),
    ...DOMAIN_FIELD,
  },
  { error: 'must be a map with dovecot: PATH or HOST:PORT' },
);

export const dovecot: LoginSource<typeof Entry> = {
  key: 'dovecot',
  schema: Entry,
  check: (entry, tools) => {
    const at = endpoint(entry.dovecot);
    const isPath = entry.dovecot.includes('/');
    const faults = tlsFaults(entry, entry.tls ?? 'none', tools);
    if (isPath && entry.tls !== undefined) faults.push('tls: is of no use on a UNIX socket. Leave it out.');
    if (!isPath && at !== undefined && entry.tls === undefined && !staysHere(at.host))
      faults.push(
        `passwords would go to ${at.host} in clear text. Use a tunnel to a loopback port or tls: implicit, or say tls: none.`,
      );
    return faults;
  },
  create: (entry, tools) => {
    const at = entry.dovecot.includes('/') ? undefined : endpoint(entry.dovecot);
    const place: Place = at ?? { path: tools.resolve(entry.dovecot) };
    const tls: PeerTls = at === undefined ? NO_TLS : tlsOf(entry, 'none', tools);
    return new DovecotStore({
      place,
      tls,
      ...attemptsOf(entry),
      names: namesOf(entry),
      onChange: (text) => tools.note({ type: 'warning', text }),
    });
  },
};
