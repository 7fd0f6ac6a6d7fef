/** What a mail server says it is, in its greeting. It may lie, and vendors mend holes under old numbers. */

export const PRODUCTS = [
  'sendmail',
  'Postfix',
  'Exim',
  'qmail',
  'OpenSMTPD',
  'Exchange',
  'Courier',
  'Lotus Domino',
] as const;
export type ProductName = (typeof PRODUCTS)[number];

export interface Product {
  /** undefined: the greeting names none that is known. */
  readonly name: ProductName | undefined;
  /** As it stands in the greeting, such as `8.12.11p2+Sun`. */
  readonly version: string | undefined;
  /** sendmail's second number: the version of its configuration files. */
  readonly configuration?: string;
  /** Built by a vendor who mends holes without a new number. */
  readonly vendor?: string;
}

/** Leading numbers: `8.12.11p2+Sun` is [8, 12, 11, 2]; empty for none. */
const numbers = (version: string): readonly number[] =>
  (/^\d+(?:[.p]\d+)*/.exec(version)?.[0] ?? '')
    .split(/[.p]/)
    .flatMap((each) => (each === '' ? [] : [Number(each)]));

/** Less than 0 if `a` is the older version. A missing number counts as 0. */
export const compareVersions = (a: string, b: string): number => {
  const [left, right] = [numbers(a), numbers(b)];
  for (let i = 0; i < Math.max(left.length, right.length); i += 1) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
};

const VERSION = String.raw`\d+(?:\.\d+)*(?:[A-Za-z][\w.]*)?(?:[+-][\w.+~-]+)?`;

/** sendmail's own form, `Sendmail 8.12.3/8.12.3`, and those of vendors: `SMI-8.6`, `AIX4.2/UCB 8.7`, `5.65/…`. */
const SENDMAIL = new RegExp(
  String.raw`\bSendmail (?:(AIX)[\d.]+/(?:UCB ?)?)?(?:(SMI|SGI)-)?(${VERSION})(?:/(?:(SMI|SGI)-)?(${VERSION}))?`,
  'i',
);

/** What tells a vendor's build. */
const VENDOR =
  /\+(Sun)|\((PHNE)_|-\d+(?:\.\d+)*\+?(deb|ubuntu)|(Debian|Ubuntu|Red ?Hat|SuSE)|(SMI|SGI|AIX)(?![a-z])/i;

const readSendmail = (text: string): Product | undefined => {
  const match = SENDMAIL.exec(text);
  if (match === null)
    return /\bSendmail\b/i.test(text) ? { name: 'sendmail', version: undefined } : undefined;
  const vendor = VENDOR.exec(text)
    ?.slice(1)
    .find((each) => each !== undefined);
  return {
    name: 'sendmail',
    version: match[3],
    ...(match[5] === undefined ? {} : { configuration: match[5] }),
    ...(vendor === undefined ? {} : { vendor }),
  };
};

const OTHERS: readonly (readonly [ProductName, RegExp])[] = [
  ['Postfix', new RegExp(String.raw`\bPostfix\b(?:[^\d(]{0,3}(?:\()?(${VERSION}))?`, 'i')],
  ['Exim', new RegExp(String.raw`\bExim\b ?(${VERSION})?`, 'i')],
  ['OpenSMTPD', /\bOpenSMTPD\b(?: ([\d.p]+))?/i],
  ['Exchange', /\bMicrosoft E?SMTP MAIL Service(?:,? Version: ([\d.]+))?/i],
  ['Exchange', /\bExchange (?:Internet Mail (?:Service|Connector)|Server)[^\d]{0,10}([\d.]+)?/i],
  ['Lotus Domino', /\bLotus Domino Release ([\d.]+)/i],
  ['Courier', /\bCourier(?:-MTA|-MSA)?\b(?: ([\d.]+))?/i],
  ['qmail', /\b(?:net)?qmail\b(?:[ -]([\d.]+))?/i],
];

/** qmail-smtpd says `220 name ESMTP` and nothing more; so may others. */
const readOthers = (text: string): Product => {
  for (const [name, pattern] of OTHERS) {
    const match = pattern.exec(text);
    if (match !== null) return { name, version: match[1] };
  }
  return { name: undefined, version: undefined };
};

/** `greeting`: the text of the 220 reply, without codes. Its first word is a host, which may be called exim or postfix. */
export const productOf = (greeting: string): Product => {
  const text = greeting.replace(/^\S+ /, '');
  const product = readSendmail(text) ?? readOthers(text);
  const vendor = product.name === 'sendmail' ? undefined : /\b(Debian|Ubuntu)\b/i.exec(greeting)?.[1];
  return vendor === undefined ? product : { ...product, vendor };
};
