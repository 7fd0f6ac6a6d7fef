/** How a mail server can be told who the client is, and the lines for its own configuration that it takes. */
import type { ProductName } from '../shield/product.js';
import { xclientAttributes } from '../smtp/xclient.js';

export interface IdentityAdvice {
  /** It offers XCLIENT with ADDR to this host. */
  readonly xclient: boolean;
  /** What `identity` of the upstream may be, as far as can be said from here. */
  readonly identity: 'received' | 'xclient';
  /** For the administrator: what is so, and lines to copy. */
  readonly lines: readonly string[];
}

const PROXY_UNSEEN =
  'PROXY: a server that expects it cannot be told from outside: it waits, as if it were down.';

/** What needs nothing of the server itself. */
const TPROXY: readonly string[] = [
  "Without any change to it: identity: tproxy. Its connections then come from the clients' own addresses. Sekisho on Linux",
  'needs CAP_NET_RAW, and the host the rules of "sekisho tproxy --apply"; the server must be on this host, at an address',
  'that is not 127.0.0.1, or its way to the clients must lead through this host.',
];

/** `from`: this host's address as the server sees it. */
const LINES: Readonly<Partial<Record<ProductName, (from: string) => readonly string[]>>> = {
  Postfix: (from) => {
    const host = from.includes(':') ? `[${from}]` : from;
    return [
      'For identity: xclient, in main.cf, then "postfix reload":',
      `    smtpd_authorized_xclient_hosts = ${host}`,
      'For identity: proxy-v2, in master.cf, on a port that nobody but Sekisho uses:',
      '    10025 inet n - y - - smtpd',
      '      -o smtpd_upstream_proxy_protocol=haproxy',
      'or, where postscreen has the port, in main.cf:',
      '    postscreen_upstream_proxy_protocol = haproxy',
    ];
  },
  Exim: (from) => [
    'For identity: proxy-v2, in the main section (SUPPORT_PROXY must be built in), then a restart:',
    `    hosts_proxy = ${from.includes(':') ? '<; ' : ''}${from}`,
  ],
  OpenSMTPD: (from) => [
    'For identity: proxy-v2, in smtpd.conf, on an address and port that nobody but Sekisho uses:',
    `    listen on ${from.startsWith('127.') || from === '::1' ? 'lo0' : 'egress'} port 10025 proxy-v2`,
  ],
  sendmail: () => [
    'sendmail knows neither XCLIENT nor PROXY: identity: received, the Received line, or tproxy.',
  ],
};

const NOT_KNOWN: readonly string[] = [
  'Nothing is known of XCLIENT or PROXY in such a server: identity: received, the Received line.',
];

export const identityAdvice = (
  product: ProductName | undefined,
  ehlo: readonly string[] | undefined,
  from: string,
): IdentityAdvice => {
  const xclient = xclientAttributes(ehlo ?? [])?.has('ADDR') === true;
  const known = product === undefined ? undefined : LINES[product];
  if (xclient) {
    const offered = `It offers XCLIENT to ${from}: write identity: xclient.`;
    return { xclient, identity: 'xclient', lines: [offered, PROXY_UNSEEN, ...TPROXY] };
  }
  const lines = known?.(from) ?? NOT_KNOWN;
  return {
    xclient,
    identity: 'received',
    lines: [`It offers no XCLIENT to ${from}.`, PROXY_UNSEEN, ...lines, ...TPROXY],
  };
};
