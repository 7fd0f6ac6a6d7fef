/**
 * Every way to ask a mail server to relay that has been seen in relay tests and in the wild, with the names under test
 * left open: what the self-test tries on the policy in force, and a probe on a real server. The names are those of
 * test/corpus/relay-cases.json, from which a test takes care that none is missing.
 */

/** Whom the forms are about. */
export interface FormNames {
  /** A domain that the server takes mail for. */
  readonly domain: string;
  /** The server's own host name. */
  readonly host: string;
  /** The server's own IPv4 address. */
  readonly ip: string;
  /** A domain that is none of the server's affair, and a sender's. */
  readonly victim: string;
  readonly sender: string;
}

/** The two lines of a form as a client says them, Latin-1, without CRLF. */
export interface RelayForm {
  readonly name: string;
  readonly mail: string;
  readonly rcpt: string;
}

const many = (text: string, times: number, between: string): string =>
  Array.from({ length: times }, () => text).join(between);

const MAIL = 'MAIL FROM:<a@{sender}>';

/** Name, RCPT, and MAIL where it is not the usual one. */
const FORMS: readonly (readonly [name: string, rcpt: string, mail?: string])[] = [
  ['nmap-04', 'RCPT TO:<relaytest@{victim}>', 'MAIL FROM:<antispam@[{ip}]>'],
  ['nmap-05', 'RCPT TO:<relaytest%{victim}@[{ip}]>', 'MAIL FROM:<antispam@[{ip}]>'],
  ['nmap-06', 'RCPT TO:<relaytest%{victim}@{host}>', 'MAIL FROM:<antispam@[{ip}]>'],
  ['nmap-07', 'RCPT TO:<"relaytest@{victim}">', 'MAIL FROM:<antispam@[{ip}]>'],
  ['nmap-09', 'RCPT TO:<relaytest@{victim}@[{ip}]>', 'MAIL FROM:<antispam@[{ip}]>'],
  ['nmap-10', 'RCPT TO:<"relaytest@{victim}"@[{ip}]>', 'MAIL FROM:<antispam@[{ip}]>'],
  ['nmap-11', 'RCPT TO:<relaytest@{victim}@{host}>', 'MAIL FROM:<antispam@[{ip}]>'],
  ['nmap-13', 'RCPT TO:<@{host}:relaytest@{victim}>', 'MAIL FROM:<antispam@[{ip}]>'],
  ['nmap-15', 'RCPT TO:<{victim}!relaytest@[{ip}]>', 'MAIL FROM:<antispam@[{ip}]>'],
  ['nmap-16', 'RCPT TO:<{victim}!relaytest@{host}>', 'MAIL FROM:<antispam@[{ip}]>'],
  ['abuse-02', 'RCPT TO:<securitytest@{victim}>', 'MAIL FROM:<spamtest>'],
  ['maps-quote', 'RCPT TO:<"nobody@{victim}">', 'MAIL FROM:<spamtest@{host}>'],
  ['maps-3', 'RCPT TO:<nobody@{victim}>', 'MAIL FROM:<spamtest@localhost>'],
  ['maps-9', 'RCPT TO:<nobody@{victim}@{host}>', 'MAIL FROM:<spamtest@{host}>'],
  ['maps-10', 'RCPT TO:<"nobody@{victim}"@{host}>', 'MAIL FROM:<spamtest@{host}>'],
  ['maps-11', 'RCPT TO:<@{host}:nobody@{victim}>', 'MAIL FROM:<spamtest@{host}>'],
  ['rly-1', 'RCPT TO:<chip@{victim}>', 'MAIL FROM:<postmaster@{domain}>'],
  ['lex-04', 'RCPT TO:<relaytest@{victim}'],
  ['lex-06', 'RCPT TO:<<relaytest@{victim}>>'],
  ['lex-07', 'RCPT TO:<bob@{domain}> <relaytest@{victim}>'],
  ['lex-09', 'RCPT TO:"bob@{domain}" <relaytest@{victim}>'],
  ['lex-10', 'RCPT TO:<relaytest@{victim}>bob@{domain}'],
  ['lex-12', 'RCPT TO:bob@{domain},relaytest@{victim}'],
  ['lex-17', 'RCPT TO:<relaytest @ {victim}>'],
  ['lex-19', 'RCPT TO:\t<relaytest@{victim}>'],
  ['lex-20', 'RCPT\tTO:<relaytest@{victim}>'],
  ['lex-21', 'RCPT TO :<relaytest@{victim}>'],
  ['lex-23', 'RCPT FROM:<relaytest@{victim}>'],
  ['lex-24', 'RCPT <relaytest@{victim}>'],
  ['pct-01', 'RCPT TO:<relaytest%{victim}>'],
  ['pct-03', 'RCPT TO:<relaytest%{victim}%{domain}>'],
  ['pct-04', 'RCPT TO:<relaytest%{victim}%{host}@{domain}>'],
  ['pct-05', 'RCPT TO:<relaytest%{victim}.@{domain}>'],
  ['pct-07', 'RCPT TO:<relaytest%{victim}@{DOMAIN}>'],
  ['pct-08', 'RCPT TO:<relaytest%[192.0.2.99]@{domain}>'],
  ['pct-09', 'RCPT TO:<"relaytest%{victim}"@{domain}>'],
  ['pct-14', 'RCPT TO:<relaytest%{victim}@>'],
  ['pct-15', 'RCPT TO:<%relaytest@{victim}>'],
  ['pct-16', 'RCPT TO:<relaytest%{victim}%>'],
  ['bang-02', 'RCPT TO:<{victim}!relaytest@{domain}>'],
  ['bang-04', 'RCPT TO:<mail!{victim}!relaytest@{domain}>'],
  ['bang-05', 'RCPT TO:<"{victim}!relaytest"@{domain}>'],
  ['bang-08', 'RCPT TO:<uuvictim!relaytest@{domain}>'],
  ['bang-10', 'RCPT TO:<uuvictim.UUCP!relaytest>'],
  ['bang-12', 'RCPT TO:<relaytest@uuvictim.BITNET>'],
  ['bang-13', 'RCPT TO:<relaytest@uuvictim.DECNET>'],
  ['bang-14', 'RCPT TO:<relaytest^{victim}>'],
  ['at-01', 'RCPT TO:<relaytest@{victim}@{domain}>'],
  ['at-02', 'RCPT TO:<relaytest@{domain}@{victim}>'],
  ['at-05', 'RCPT TO:<relaytest\\@{victim}@{domain}>'],
  ['at-07', 'RCPT TO:<relaytest"@"{victim}@{domain}>'],
  ['at-08', 'RCPT TO:<"relaytest@{victim}">'],
  ['rt-01', 'RCPT TO:<@{domain}:relaytest@{victim}>'],
  ['rt-02', 'RCPT TO:<@{victim}:bob@{domain}>'],
  ['rt-03', 'RCPT TO:<@{domain},@{victim}:bob@{domain}>'],
  ['rt-05', 'RCPT TO:<@{domain}:relaytest%{victim}>'],
  ['rt-08', 'RCPT TO:<@{domain}:@{host}:relaytest@{victim}>'],
  ['rt-09', 'RCPT TO:<@{domain},@{host}:relaytest@{victim}>'],
  ['rt-10', 'RCPT TO:<@:relaytest@{victim}>'],
  ['rt-11', 'RCPT TO:<@{domain}:@{victim}>'],
  ['rt-15', 'RCPT TO:<list:relaytest@{victim};>'],
  ['rt-16', 'RCPT TO:<@{victim}:bob>'],
  ['dec-02', 'RCPT TO:<uuvictim::relaytest@{domain}>'],
  ['dec-03', 'RCPT TO:<"uuvictim::relaytest"@{domain}>'],
  ['x400-02', 'RCPT TO:<IMCEASMTP-relaytest+40{imc}@{domain}>'],
  ['x400-03', 'RCPT TO:<IMCEAEX-_O=VICTIM_OU=X_CN=relaytest@{domain}>'],
  ['lit-01', 'RCPT TO:<relaytest@[192.0.2.99]>'],
  ['lit-02', 'RCPT TO:<relaytest@192.0.2.99>'],
  ['lit-04', 'RCPT TO:<relaytest@[IPv6:::ffff:192.0.2.99]>'],
  ['lit-05', 'RCPT TO:<relaytest@3221226083>'],
  ['lit-06', 'RCPT TO:<relaytest@[3221226083]>'],
  ['lit-07', 'RCPT TO:<relaytest@[0300.0.02.0143]>'],
  ['lit-10', 'RCPT TO:<relaytest@[192.0.2.99>'],
  ['lit-11', 'RCPT TO:<relaytest@[{victim}]>'],
  ['dot-01', 'RCPT TO:<relaytest@{victim}.>'],
  ['dot-02', 'RCPT TO:<relaytest@{victim}.{domain}.evil.example>'],
  ['dot-06', 'RCPT TO:<relaytest@{victim}\\.{domain}>'],
  ['ctl-02', 'RCPT TO:<relaytest@{victim}\x00@{domain}>'],
  ['ctl-03', 'RCPT TO:<relaytest@{victim}\xff@{domain}>'],
  ['ctl-08', 'RCPT TO:<relaytest@{victim}\x0b@{domain}>'],
  ['ctl-10', 'RCPT TO:<rel\x08aytest@{victim}>'],
  ['ctl-11', 'RCPT TO:<rel\x7faytest@{victim}>'],
  ['ctl-12', 'RCPT TO:<relaytest\t@{victim}>'],
  ['idn-04', 'RCPT TO:<relaytest\xef\xbc\xa0{victim}@{domain}>'],
  ['par-11', 'RCPT TO:<relaytest@{victim}>', 'MAIL FROM:<a@{sender}> AUTH=root@{domain}'],
  ['par-15', 'RCPT TO:<relaytest@{victim}> @{domain}'],
  ['par-16', 'RCPT TO:<relaytest@{victim}>', 'MAIL FROM:<a@{sender}> TRANSID=<x@{domain}>'],
  ['len-07', `RCPT TO:<${many('@{domain}', 61, ',')}:relaytest@{victim}>`],
  ['len-08', `RCPT TO:<relaytest%${many('{domain}', 30, '%')}%{victim}@{domain}>`],
  ['len-10', `RCPT TO:${'<'.repeat(101)}relaytest@{victim}${'>'.repeat(101)}`],
  ['orc-05', 'RCPT TO:<relaytest@{victim}>\x00<bob@{domain}>'],
  ['orc-06', 'RCPT TO:<relaytest@{victim}\xff@{domain}>'],
  ['orc-07', 'RCPT TO:<relaytest\xc0{victim}>'],
  ['orc-08', 'RCPT TO:<relaytest\xc0{victim}@{domain}>'],
  ['orc-09', 'RCPT TO:<relaytest\xa5{victim}@{domain}>'],
  ['orc-10', 'RCPT TO:<{victim}\xa1relaytest@{domain}>'],
  ['orc-13', 'RCPT TO:<bob\xbe\xbcrelaytest@{victim}>'],
  ['orc-15', 'RCPT TO:<uuvictim::relaytest>'],
  ['orc-16', 'RCPT TO:<bob@{domain},relaytest@{victim}>'],
  ['orc-19', 'RCPT TO:<relaytest@{victim}\x0b@{domain}>'],
  ['orc-21', 'RCPT TO:<relaytest@{victim}\r@{domain}>'],
  ['orc-23', 'RCPT TO:<bob(<relaytest@{victim}>)@{domain}>'],
  ['orc-25', 'RCPT TO:"x" relaytest@{victim}'],
  ['orc-27', 'RCPT TO:<relaytest@"{victim}"@{domain}>'],
  ['orc-28', 'RCPT TO:<@{domain}:"relaytest@{victim}">'],
  ['orc-29', 'RCPT TO:<@{domain},:relaytest@{victim}>'],
  ['orc-30', 'RCPT TO:<@[{ip}],@{domain}:relaytest%{victim}@{domain}>'],
  ['orc-31', 'RCPT TO:<{victim}!relaytest%{host}@{domain}>'],
  ['orc-33', 'RCPT TO:<@{victim}>'],
  ['orc-35', 'RCPT TO:<$:relaytest@{victim}>'],
  ['orc-38', 'RCPT TO:<relaytest@[{ip}]@{victim}>'],
  ['orc-41', 'RCPT TO:<relaytest%{victim}@[127.1]>'],
  ['orc-42', 'RCPT TO:<relaytest%{victim}@[2130706433]>'],
  ['orc-44', 'RCPT TO:<relaytest%{victim}@[::1]>'],
  // Beyond the corpus: bounces, and the owner's own name as a claim.
  ['own-null', 'RCPT TO:<relaytest@{victim}>', 'MAIL FROM:<>'],
  ['own-null-percent', 'RCPT TO:<relaytest%{victim}@{domain}>', 'MAIL FROM:<>'],
  ['own-sender', 'RCPT TO:<relaytest@{victim}>', 'MAIL FROM:<bob@{domain}>'],
  ['own-victim', 'RCPT TO:<relaytest@{victim}>', 'MAIL FROM:<relaytest@{victim}>'],
];

/**
 * Top-level domains of which no server is the owner: a list that holds one of them whole is too wide. Sekisho's own
 * names below them exist nowhere, and nobody lists one of them by itself.
 */
const TOPS = [
  ...['com', 'net', 'org', 'edu', 'gov', 'info', 'biz', 'io', 'eu', 'example', 'test'],
  ...['de', 'fr', 'it', 'nl', 'uk', 'co.uk', 'ac.uk', 'us', 'cn', 'com.cn', 'ru', 'br', 'com.br', 'in'],
  ...['jp', 'co.jp', 'ac.jp', 'ne.jp', 'or.jp', 'go.jp', 'kr', 'co.kr', 'tw', 'com.tw', 'au', 'com.au'],
];

const filled = (text: string, names: FormNames): string =>
  text.replace(/\{(\w+)\}/g, (whole, key: string) => {
    switch (key) {
      case 'domain':
      case 'host':
      case 'ip':
      case 'victim':
      case 'sender':
        return names[key];
      case 'DOMAIN':
        return names.domain.toUpperCase();
      // As gateways of Exchange encapsulate it.
      case 'imc':
        return names.victim.replaceAll('.', '+2E');
      default:
        return whole;
    }
  });

/** All forms with these names. */
export const relayForms = (names: FormNames): readonly RelayForm[] =>
  FORMS.map(([name, rcpt, mail = MAIL]) => ({
    name,
    mail: filled(mail, names),
    rcpt: filled(rcpt, names),
  }));

/** Plain mail to every corner of the net, for lists that are too wide. */
export const wideForms = (names: FormNames): readonly RelayForm[] =>
  TOPS.map((top) => ({
    name: `wide-${top}`,
    mail: filled(MAIL, names),
    rcpt: `RCPT TO:<relaytest@sekisho-relay-test.${top}>`,
  }));
