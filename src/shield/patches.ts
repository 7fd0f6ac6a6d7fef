/**
 * The virtual patches: what Sekisho keeps from a mail server that has a hole there. Those of kind `shield` look at
 * message data and have a mode each; those of kind `engine` are part of how Sekisho speaks SMTP and are always on.
 * Which hole needs which patch is said in `holes.ts`.
 */

/** `reject`: the message never reaches the MTA. `shadow`: it is logged and counted, and passes. */
export const MODES = ['reject', 'shadow', 'off'] as const;
export type Mode = (typeof MODES)[number];

/** What a shield patch looks at; presets switch them by this. */
export type Area = 'header' | 'address' | 'mime' | 'dkim' | 'tnef';

interface Row {
  readonly looksAt: string;
  readonly limit: string;
  readonly reply: string;
  /** What counts its hits. */
  readonly metric: string;
  /** What shows that it holds: cases of the corpus in test/corpus, or files of tests. A test plays them all. */
  readonly proof: readonly string[];
}

interface ShieldRow extends Row {
  readonly area: Area;
}

const REFUSED = '554 5.6.0';
const hits = (id: string): string => `sekisho_shield_hits_total{patch="${id}"}`;

/** At the limit of each and one past it. */
const EDGES = 'test/support/patch-edges.ts';

const shield = (
  id: string,
  area: Area,
  looksAt: string,
  limit: string,
  cases: readonly string[] = [],
): ShieldRow => ({
  area,
  looksAt,
  limit,
  reply: REFUSED,
  metric: hits(id),
  proof: [...cases, EDGES],
});

/** Figures that are no options: old servers have buffers of just these sizes. */
export const LIMITS = {
  fields: 1_000,
  name: 76,
  field: 8_192,
  addresses: 1_000,
  /** `<`, `>` or `(` in one address. */
  brackets: 32,
  address: 2_048,
  comment: 256,
  commentNesting: 3,
  backslashes: 8,
  tokens: 100,
  token: 256,
  boundary: 70,
  parameters: 20,
  parameter: 128,
  /** Names of files, which may be long and encoded, and parameters that nobody reads. */
  longParameter: 1_024,
  encoding: 40,
  multiparts: 15,
  /** Multiparts and enclosed messages together. */
  levels: 20,
  parts: 1_000,
  dkim: 4_096,
} as const;

/** On message data. The header section is judged before the MTA sees any of it, the rest while it streams. */
export const SHIELD_PATCHES = {
  'header-size': shield(
    'header-size',
    'header',
    'octets of a header section, of the message and of its parts',
    'limits.header_bytes (32768)',
    ['hdr-32k'],
  ),
  'header-count': shield('header-count', 'header', 'fields of a header section', `${LIMITS.fields}`),
  'header-name': shield('header-name', 'header', 'length of a field name', `${LIMITS.name} octets`, [
    'hdr-long-name',
  ]),
  'header-field': shield(
    'header-field',
    'header',
    'length of an unfolded field that is no list of addresses',
    `${LIMITS.field} octets`,
    ['hdr-long-value'],
  ),
  'address-count': shield('address-count', 'address', 'addresses in one field', `${LIMITS.addresses}`),
  'address-brackets': shield(
    'address-brackets',
    'address',
    'number of <, > and ( in one address, or in one field that bears a sender (as crackaddr reads it)',
    `${LIMITS.brackets} of each`,
    ['hdr-crackaddr-2', 'hdr-crackaddr-4', 'hdr-obs-fold'],
  ),
  'address-balance': shield(
    'address-balance',
    'address',
    'quotes, brackets and comments that are not closed, or closed and never opened',
    'none',
  ),
  'address-length': shield('address-length', 'address', 'length of one address', `${LIMITS.address} octets`),
  'address-comment': shield(
    'address-comment',
    'address',
    'length and nesting of comments in address fields',
    `${LIMITS.comment} octets, ${LIMITS.commentNesting} deep`,
    ['hdr-comment-long'],
  ),
  'address-octets': shield(
    'address-octets',
    'address',
    'octets above 127 in address fields, outside SMTPUTF8 (0xFF ends the reading in prescan, 0x80 to 0x9F are sendmail metacharacters)',
    'none',
    ['hdr-c1', 'hdr-ff'],
  ),
  'address-backslashes': shield(
    'address-backslashes',
    'address',
    'backslashes in a row in address fields',
    `${LIMITS.backslashes}`,
  ),
  'address-tokens': shield(
    'address-tokens',
    'address',
    'tokens of one address, and the length of one token (as prescan cuts it up)',
    `${LIMITS.tokens} tokens of ${LIMITS.token} octets`,
  ),
  'mime-boundary': shield(
    'mime-boundary',
    'mime',
    'boundary of a multipart',
    `${LIMITS.boundary} printable octets`,
    ['hdr-boundary'],
  ),
  'mime-parameters': shield(
    'mime-parameters',
    'mime',
    'parameters of Content-Type, and their length',
    `${LIMITS.parameters} of ${LIMITS.parameter} octets (name=, x-…=: ${LIMITS.longParameter})`,
    ['hdr-ct-params'],
  ),
  'mime-encoding': shield(
    'mime-encoding',
    'mime',
    'Content-Transfer-Encoding',
    `one token of ${LIMITS.encoding} octets`,
  ),
  'mime-depth': shield(
    'mime-depth',
    'mime',
    'multiparts within multiparts, and messages within messages',
    `${LIMITS.multiparts} multiparts, ${LIMITS.levels} levels in all`,
    ['hdr-mime-depth'],
  ),
  'mime-parts': shield('mime-parts', 'mime', 'parts of a message in all', `${LIMITS.parts}`),
  'dkim-format': shield(
    'dkim-format',
    'dkim',
    '% in DKIM-Signature outside z=, and its length',
    `${LIMITS.dkim} octets`,
  ),
  tnef: shield('tnef', 'tnef', 'application/ms-tnef (winmail.dat), which legitimate Outlooks send', 'none'),
} as const satisfies Record<string, ShieldRow>;

export type PatchId = keyof typeof SHIELD_PATCHES;
export const PATCH_IDS = Object.keys(SHIELD_PATCHES) as readonly PatchId[];

const engine = (
  looksAt: string,
  limit: string,
  reply: string,
  metric: string,
  proof: readonly string[],
): Row => ({ looksAt, limit, reply, metric, proof });

const fault = (kind: string): string => `sekisho_framing_faults_total{kind="${kind}"}`;
const command = (verb: string, code: number): string =>
  `sekisho_commands_total{verb="${verb}",code="${code}"}`;

/** Closed by the way Sekisho speaks SMTP: no mode, no switch. */
export const ENGINE_PATCHES = {
  'verb-list': engine(
    'verbs: only those of the table are known (DEBUG, WIZ, KILL, XEXCH50, X-LINK2STATE … are not)',
    'none',
    '500 5.5.1',
    command('OTHER', 500),
    ['cmd-06', 'cmd-18', 'cmd-29', 'cmd-30', 'cmd-31'],
  ),
  'no-user-queries': engine('VRFY, EXPN and ETRN', 'none', '252 2.5.2, 502', command('EXPN', 502), [
    'cmd-01',
    'cmd-03',
    'cmd-04',
  ]),
  'address-grammar': engine(
    'envelope addresses: RFC 5321 as it stands, ASCII outside SMTPUTF8, printed anew',
    'local part 64, domain 255, path 256 octets',
    '501 5.1.3, 501 5.1.7, 553 5.6.7',
    command('RCPT', 501),
    ['ctl-03', 'ctl-04', 'inj-19', 'prog-07', 'prog-22'],
  ),
  'address-hazards': engine(
    'envelope local parts that are programs, files, options, shell or Exim expansions, in every reading',
    'none',
    '553 5.1.3, 553 5.1.7',
    command('RCPT', 553),
    ['prog-03', 'prog-04', 'prog-10', 'prog-11', 'snd-01', 'snd-02'],
  ),
  'address-readings': engine(
    'every place a legacy MTA might send a recipient (%, !, routes, quotes, IMCEA)',
    'all readings must be allowed',
    '550 5.7.1',
    'sekisho_relay_decisions_total{verdict="deny"}',
    ['nmap-10', 'pct-09', 'x400-02', 'x400-03'],
  ),
  'parameter-grammar': engine(
    'parameters of MAIL and RCPT; xtext is decoded and looked at',
    'known parameters only, ORCPT 500, ENVID 100 octets',
    '501 5.5.4, 555 5.5.4',
    command('MAIL', 501),
    ['inj-16', 'inj-18'],
  ),
  'hello-grammar': engine(
    'name in HELO and EHLO',
    '255 octets of letters, digits and . _ : [ ] -',
    '501 5.5.4',
    command('EHLO', 501),
    ['inj-06', 'inj-13', 'inj-14'],
  ),
  'command-lines': engine(
    'length of command lines',
    '512 octets, 1024 after EHLO',
    '500 5.5.2',
    fault('line-too-long'),
    ['inj-03', 'len-02', 'len-04'],
  ),
  'message-lines': engine(
    'length of message lines (unless the listener says long_lines: pass)',
    '998 octets',
    '554 5.6.0',
    fault('data-line-too-long'),
    ['len-06', 'len-07', 'len-10', 'len-14'],
  ),
  'end-of-data': engine(
    'CR, LF and NUL that stand alone, and every end of data but CRLF.CRLF',
    'none',
    '550 5.5.2',
    fault('bare-lf'),
    ['eod-lf-dot-lf', 'test/system/smuggling-corpus.test.ts'],
  ),
  'lock-step': engine(
    'one command at a time towards the MTA, message data only behind its 354',
    'none',
    'none',
    fault('pipelining'),
    ['pl-helo-stuff', 'pl-ehlo-stuff', 'test/transcripts.test.ts'],
  ),
  'foreign-protocols': engine('verbs of HTTP and others', 'none', '421 4.7.0', fault('foreign-protocol'), [
    'xp-01',
    'xp-04',
    'xp-11',
    'xp-13',
  ]),
  'own-tls': engine(
    'TLS ends at Sekisho: no SNI, no certificate and no clear text from before it reaches the MTA',
    'none',
    '421 4.5.1',
    fault('pipelining'),
    ['test/system/tls.test.ts', 'test/system/outside-testers.test.ts'],
  ),
  'own-auth': engine(
    'AUTH ends at Sekisho: strict base64, mechanisms of its own',
    '12288 octets',
    '501 5.5.2, 504 5.5.4',
    'sekisho_auth_attempts_total',
    ['auth-unknown', 'test/smtp/auth.test.ts'],
  ),
  'no-chunking': engine('BDAT', 'none', '502 5.5.1', fault('bdat'), [
    'bdat-not-offered',
    'bdat-inject',
    'bdat-huge',
  ]),
  'recipient-limit': engine(
    'recipients of a message',
    'limits.recipients (1000)',
    '452 4.5.3',
    command('RCPT', 452),
    ['len-17'],
  ),
  'own-address': engine(
    'IDENT queries of the MTA reach Sekisho, which answers none',
    'none',
    'none',
    'none',
    ['test/system/quick-starts.test.ts'],
  ),
  spool: engine(
    'with data: spool, the MTA sees DATA only once the message is whole, so nobody can make it wait within one',
    'spool.message, spool.total',
    '452 4.3.1',
    'sekisho_messages_total{result="deferred"}',
    ['test/proxy/shield.test.ts'],
  ),
} as const satisfies Record<string, Row>;

export type EnginePatchId = keyof typeof ENGINE_PATCHES;

/** Senders that are broken and common: what each leniency lets pass. All are off unless named. */
export const LENIENCIES = {
  'eight-bit-addresses':
    'address-octets: UTF-8 and ISO 8859 names that are not encoded; never 0xFF, nor 0x80 to 0x9F outside UTF-8',
  'unbalanced-addresses': 'address-balance: forgotten quotes, brackets and parentheses',
  'long-comments': 'address-comment: 1000 octets',
  'long-boundaries': 'mime-boundary: 200 octets',
  'many-parameters': 'mime-parameters: 50',
  'long-parameters': 'mime-parameters: 1024 octets in any parameter',
  'odd-encodings': 'mime-encoding: more than one word',
} as const;

export type Leniency = keyof typeof LENIENCIES;
export const LENIENCY_NAMES = Object.keys(LENIENCIES) as readonly Leniency[];
