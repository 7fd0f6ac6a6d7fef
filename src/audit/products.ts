/** The mail servers the audit knows, by the names under which they run, start and are packaged. */
import type { ProductId } from './evidence.js';

export interface Product {
  readonly id: ProductId;
  readonly title: string;
  /** Names of start scripts, units, rc variables and services. */
  readonly services: RegExp;
  /** Names of packages whose version is the server's. */
  readonly packages: RegExp;
}

/** The order matters: the first that matches is it. */
export const PRODUCTS: readonly Product[] = [
  {
    id: 'postfix',
    title: 'Postfix',
    services: /^(?:org\.)?postfix(?:[@.].*)?$/,
    packages: /^postfix$/,
  },
  {
    id: 'exim',
    title: 'Exim',
    services: /^exim[0-9]?(?:-[a-z]+)?(?:@.*)?$/,
    packages: /^exim(?:4-daemon-(?:light|heavy))?$/,
  },
  {
    id: 'qmail',
    title: 'qmail',
    services: /^(?:net)?qmail(?:ctl|-send|-smtpd|-submission)?$/,
    packages: /^(?:net)?qmail$/,
  },
  { id: 'opensmtpd', title: 'OpenSMTPD', services: /^(?:opensmtpd|smtpd)$/, packages: /^opensmtpd$/ },
  {
    id: 'courier',
    title: 'Courier',
    services: /^courier(?:-(?:mta|msa|mta-ssl|esmtpd))?$/,
    packages: /^courier(?:-mta)?$/,
  },
  { id: 'smail', title: 'Smail', services: /^smail$/, packages: /^smail$/ },
  {
    id: 'exchange',
    title: 'Microsoft Exchange or IIS SMTP',
    services: /^(?:SMTPSVC|MSExchangeTransport)$/i,
    packages: /^$/,
  },
  { id: 'sekisho', title: 'Sekisho', services: /^sekisho$/, packages: /^sekisho$/ },
  {
    id: 'sendmail',
    title: 'sendmail',
    // `mail` is what IRIX calls its script; `sm-client` only runs a queue.
    services: /^(?:sendmail(?:-client)?|sm-client|com\.apple\.sendmail)$/,
    packages: /^sendmail(?:-bin)?$/,
  },
  { id: 'unknown', title: 'an unknown SMTP server', services: /^$/, packages: /^$/ },
];

export const titleOf = (id: ProductId): string => PRODUCTS.find((each) => each.id === id)?.title ?? id;

/** The product of a script, unit or variable of this name, without suffix. */
export const productOfService = (name: string): ProductId | undefined =>
  PRODUCTS.find(({ services }) => services.test(name))?.id;

export const productOfPackage = (name: string): ProductId | undefined =>
  PRODUCTS.find(({ packages }) => packages.test(name))?.id;

interface Shape {
  readonly id: ProductId;
  readonly shape: RegExp;
  /** It takes mail from the network. */
  readonly listens: boolean;
}

/** How processes and command lines look; the first that matches is it. */
const SHAPES: readonly Shape[] = [
  // Before the others: it names them in its arguments.
  { id: 'sekisho', shape: /(?:^|[/ ])sekisho(?:\.js)?(?: |$)|\/sekisho\/dist\/cli\/main\.js/, listens: true },
  { id: 'qmail', shape: /(?:^|[/ ])qmail-smtpd(?: |$)/, listens: true },
  {
    id: 'qmail',
    shape: /(?:^|\/)qmail-(?:send|lspawn|rspawn|clean|start|inject)(?: |$)|\/var\/qmail\/rc\b/,
    listens: false,
  },
  // Postfix's own smtpd says what it is for; OpenSMTPD's has no -t.
  { id: 'postfix', shape: /(?:^|[/ ])smtpd -n \S+ -t (?:inet|pass)\b/, listens: true },
  {
    id: 'postfix',
    shape: /(?:postfix\/(?:sbin\/|bin\/)?|^)master(?: -w)?$|\/(?:lib|libexec)\/postfix\/(?:sbin\/)?master\b/,
    listens: true,
  },
  {
    id: 'postfix',
    shape: /^(?:\S*\/)?(?:qmgr|pickup|tlsmgr|anvil) -l\b|(?:^|[/ ])postfix (?:-\S+ \S+ )?start/,
    listens: false,
  },
  { id: 'exim', shape: /^(?:\S*\/)?exim[0-9]?(?: .*)? -b(?:d|dF)\b|^exim[0-9]?: daemon/, listens: true },
  { id: 'exim', shape: /^(?:\S*\/)?exim[0-9]?(?: |:|$)/, listens: false },
  { id: 'courier', shape: /(?:^|[/ ])(?:courieresmtpd|esmtpd)(?: |$)/, listens: true },
  { id: 'courier', shape: /(?:^|[/ ])courierd(?: |$)/, listens: false },
  { id: 'smail', shape: /^(?:\S*\/)?smail(?: .*)? -b(?:d|s)\b|^(?:\S*\/)?in\.smtpd(?: |$)/, listens: true },
  { id: 'smail', shape: /^(?:\S*\/)?smail(?: |$)/, listens: false },
  { id: 'exchange', shape: /\b(?:EdgeTransport|MSExchangeTransport|inetinfo)\.exe\b/i, listens: true },
  // The title that sendmail gives itself.
  {
    id: 'sendmail',
    shape: /^sendmail: (?:MTA: )?(?:accepting|rejecting) connections|^sendmail: server /,
    listens: true,
  },
  { id: 'sendmail', shape: /^(?:\S*\/)?(?:sendmail|sendmail-mta)(?: .*)? -b(?:d|D|s)\b/, listens: true },
  // A daemon run by another's name: `sendmail -L sm-mta -C… -bd -q30m`, or only its queue.
  {
    id: 'sendmail',
    shape: /^(?:\S*\/)?(?:sendmail|sendmail-mta)(?: .*)? -q(?:\d|p|\b)|^sendmail: /,
    listens: false,
  },
  { id: 'opensmtpd', shape: /^(?:\S*\/)?(?:opensmtpd|smtpd)(?::| |$)/, listens: true },
  {
    id: 'unknown',
    shape: /^(?:\S*\/)?(?:in\.)?smtpd?(?: |$)|(?:^|[/ ])(?:haraka|james|mailenable|zmailer)\b/i,
    listens: true,
  },
];

/** What mail server a command line or process title belongs to. */
export const productOfCommand = (
  command: string,
): { readonly id: ProductId; readonly listens: boolean } | undefined =>
  SHAPES.find(({ shape }) => shape.test(command));
