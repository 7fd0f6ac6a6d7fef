/**
 * The shape of a policy file. What a shape cannot say (lists that exist, rules that can be reached) is said
 * by `compile`. `policies/policy.schema.json` is generated from here, for editors.
 */
import { z } from 'zod';
import { TLS_VERSIONS } from '../base/tls-versions.js';
import { WINDOW_SOURCES } from '../windows/window.js';

const TLS_ERROR =
  'must be true, false, a least version ("1.2" or "1.3"), "sha256:…", or { least, fingerprint, subject }';
const LEAST_ERROR = 'must be a least version: "1.2" or "1.3"';
/** SHA-256 of a client certificate in hex, with or without colons. */
export const FINGERPRINT = /^sha256:(?:[0-9a-fA-F]{64}|[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){31})$/;
const WINDOW_ERROR = `must be any, one of ${WINDOW_SOURCES.join(', ')}, or a list of these`;
/** Rule names become metric labels and log text. */
export const RULE_NAME = /^[A-Za-z0-9 _.,'()/-]{1,64}$/;
/** Names of lists bear no dot, so that no list name is ever mistaken for a domain. */
export const LIST_NAME = /^[A-Za-z][A-Za-z0-9_-]{0,63}$/;
const LISTENER_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

const text = z.string({
  error: 'must be text, in quotes where YAML would read a number, true, false or null',
});
const nonEmpty = text.min(1, 'must not be empty');
const listenerName = text.regex(
  LISTENER_NAME,
  'must be a letter or digit, then up to 63 letters, digits, _ . or -',
);
const replyText = text.regex(/^[\x20-\x7e]{1,200}$/, 'must be 1 to 200 printable ASCII characters');
const described = <T extends z.ZodType>(schema: T, description: string): T => schema.describe(description);

const words = (description: string) =>
  z
    .union([nonEmpty, z.array(nonEmpty)], {
      error: 'must be one entry or a list of entries, each of them text',
    })
    .describe(description);

const FileEntry = z.strictObject({
  file: described(nonEmpty, 'A list: one entry a line, # begins a comment.'),
});
const SendmailEntry = z.strictObject({
  sendmail: described(nonEmpty, "sendmail's local-host-names, relay-domains or the source text of access."),
});
const PostfixEntry = z.strictObject({
  postfix: described(nonEmpty, 'A list file of Postfix, as in mydestination, relay_domains or mynetworks.'),
});

const Entry = z.union([nonEmpty, FileEntry, SendmailEntry, PostfixEntry], {
  error: 'must be text, or one of { file: … }, { sendmail: … }, { postfix: … }',
});
const List = z.union([nonEmpty, z.array(Entry)], { error: 'must be a list of entries' });

const lists = (description: string) =>
  z
    .record(text.regex(LIST_NAME, 'a list name is a letter, then up to 63 letters, digits, _ or -'), List, {
      error: 'must be a map of named lists',
    })
    .describe(description);

const fingerprint = text.regex(FINGERPRINT, 'must be sha256: and 64 hex digits, colons allowed');
const someWindow = z.enum(['any', ...WINDOW_SOURCES], { error: WINDOW_ERROR });

const TlsMap = z.strictObject({
  least: z.enum(TLS_VERSIONS, { error: LEAST_ERROR }).describe('The least version.').optional(),
  fingerprint: z
    .union([fingerprint, z.array(fingerprint).min(1, 'must hold at least one')], {
      error: 'must be "sha256:" and 64 hex digits, or a list of these',
    })
    .describe('Client certificates by the SHA-256 of their DER.')
    .optional(),
  subject: words('Subjects of verified client certificates, such as CN=…,O=….').optional(),
});

const Conditions = z.strictObject(
  {
    client: words('Networks by name, CIDR blocks, addresses, loopback.').optional(),
    client_name: words(
      'Forward-confirmed names of the client; .example.org is example.org and all below.',
    ).optional(),
    listener: z
      .union([listenerName, z.array(listenerName)], {
        error: 'must be the name of a listener, or a list of them',
      })
      .describe('Names of listeners.')
      .optional(),
    helo: words('What the client calls itself in HELO or EHLO: a mere claim.').optional(),
    from: words('Senders: domain lists, domains, mailboxes; "<>" is the null sender.').optional(),
    to: words('Recipients: domain lists, domains, mailboxes, address literals.').optional(),
    login: words('Logins: any, a name, *@example.org.').optional(),
    window: z
      .union([someWindow, z.array(someWindow)], { error: WINDOW_ERROR })
      .describe('An open window of the client: any, or by what means it was opened.')
      .optional(),
    tls: z
      .union(
        [z.boolean(), z.enum(TLS_VERSIONS, { error: TLS_ERROR }), text.regex(FINGERPRINT, TLS_ERROR), TlsMap],
        {
          error: TLS_ERROR,
        },
      )
      .describe('Whether the connection is under TLS, its least version, or a client certificate.')
      .optional(),
    listed: words("DNS lists of sekisho.yaml's strangers.dnsbl, by name; any: enough of them.").optional(),
  },
  { error: 'must be a map of conditions; {} means always' },
);

const GREYLIST_ERROR = 'must be a time from 1s to 24h, such as 5m';
const rate = text.regex(/^\d{1,10}\/\d{1,7}[smhd]$/, 'must be a number and a period, such as 500/1h');
export const LIMIT_COUNTS = ['recipients', 'messages', 'addresses', 'networks'] as const;
const PER = ['login', 'window', 'client', 'network', 'sender', 'listener', 'rule'] as const;

const Limit = z.strictObject({
  recipients: rate.optional(),
  messages: rate.optional(),
  addresses: rate.describe('Distinct client addresses; of IPv6 each /64.').optional(),
  networks: rate.describe('Distinct networks of clients: /16 of IPv4, /32 of IPv6.').optional(),
  per: z.enum(PER, { error: `must be one of ${PER.join(', ')}` }),
  // biome-ignore lint/suspicious/noThenProperty: the word the policy format has; the value is a schema, no function.
  then: z
    .enum(['defer', 'deny', 'suspend'], { error: 'must be defer, deny or suspend' })
    .describe('What comes past the limit; defer by default.')
    .optional(),
  for: text
    .regex(/^\d{1,7}[smhd]$/, 'must be a time from 1s to 30d, such as 24h')
    .describe('How long a suspension lasts; until it is lifted by default.')
    .optional(),
});

const ReplyMap = z.strictObject({
  code: z
    .int({ error: 'must be a number from 400 to 599' })
    .min(400, 'must be a number from 400 to 599')
    .max(599, 'must be a number from 400 to 599')
    .optional(),
  enhanced: text.regex(/^[45]\.\d{1,3}\.\d{1,3}$/, 'must look like 5.7.1 (RFC 3463)').optional(),
  text: replyText,
});

const Rule = z.strictObject(
  {
    name: text.regex(RULE_NAME, "must be 1 to 64 letters, digits, spaces or _ . , ' ( ) / -"),
    allow: Conditions.optional(),
    deny: Conditions.optional(),
    defer: Conditions.optional(),
    reply: z
      .union([replyText, ReplyMap], {
        error: 'must be 1 to 200 printable ASCII characters, or { code, enhanced, text }',
      })
      .optional(),
    shadow: z
      .boolean({ error: 'must be true or false' })
      .describe('Judged and logged, not enforced.')
      .optional(),
    limit: Limit.describe('How much an allow rule lets through.').optional(),
    greylist: text
      .regex(/^\d{1,7}[smh]$/, GREYLIST_ERROR)
      .describe('Strangers have to come again after so long before an allow rule lets them pass.')
      .optional(),
    i_know: z
      .literal('open relay', { error: 'must be the words: open relay' })
      .describe('Admits that this rule lets anybody send anywhere.')
      .optional(),
  },
  { error: 'must be a map: a name and one of allow, deny, defer' },
);

const TestWindow = z.strictObject({
  login: nonEmpty,
  source: z.enum(WINDOW_SOURCES, { error: `must be one of ${WINDOW_SOURCES.join(', ')}` }),
});
const TestCertificate = z.strictObject({ fingerprint, subject: nonEmpty.optional() });

const Sender = z.strictObject(
  {
    login: words('Logins: any, a name, *@example.org.'),
    from: words('own, any, domain lists, domains, mailboxes.'),
  },
  { error: 'must be a map: login and from' },
);

const Test = z.strictObject(
  {
    name: nonEmpty,
    client: text.describe('An IP address.'),
    from: text.describe('An address without brackets; "" or "<>" is the null sender.'),
    to: text.describe('An address without brackets.'),
    listener: text.optional(),
    helo: text.optional(),
    tls: z
      .enum(TLS_VERSIONS, { error: 'must be a version: "1.2" or "1.3"' })
      .describe('The TLS version in force; absent in clear text.')
      .optional(),
    login: nonEmpty.describe('Who logged in.').optional(),
    window: z
      .union([z.enum([...WINDOW_SOURCES, 'unknown']), TestWindow], {
        error: `must be one of ${WINDOW_SOURCES.join(', ')}, { login, source }, or unknown`,
      })
      .describe('An open window of the client; the word "unknown" when it could not be looked up.')
      .optional(),
    certificate: z
      .union([fingerprint, TestCertificate], {
        error: 'must be "sha256:" and 64 hex digits, or { fingerprint, subject }',
      })
      .describe('The certificate of the client.')
      .optional(),
    listed: words('The DNS lists that have the client; each of them is enough for listed: any.').optional(),
    client_name: text
      .describe('Confirmed name; the word "unknown" when it could not be looked up.')
      .optional(),
    expect: z.enum(['allow', 'deny', 'defer'], { error: 'must be allow, deny or defer' }),
    rule: text.describe('The rule that must have decided.').optional(),
  },
  { error: 'must be a map: name, client, from, to, expect' },
);

const PolicySchema = z.strictObject(
  {
    version: z.literal(1, { error: 'must be 1' }),
    networks: lists('Named lists of CIDR blocks and addresses.').optional(),
    domains: lists('Named lists of domains, mailboxes and address literals.').optional(),
    rules: z.array(Rule, { error: 'must be a list of rules' }).min(1, 'must hold at least one rule'),
    senders: z
      .array(Sender, { error: 'must be a list of { login, from }' })
      .describe('What a login may put in MAIL FROM; the first that names the login decides, else own.')
      .optional(),
    tests: z.array(Test, { error: 'must be a list of tests' }).optional(),
  },
  { error: 'must be a policy: a map with version, networks, domains, rules, senders and tests' },
);

/** The parts that are checked one by one, so that a fault in one does not hide the faults in another. */
export const PART = { policy: PolicySchema, list: List, rule: Rule, sender: Sender, test: Test } as const;

export type ListInput = z.infer<typeof List>;
export type EntryInput = z.infer<typeof Entry>;
export type RuleInput = z.infer<typeof Rule>;
export type ConditionsInput = z.infer<typeof Conditions>;
export type LimitInput = z.infer<typeof Limit>;
export type SenderInput = z.infer<typeof Sender>;
export type TestInput = z.infer<typeof Test>;

export type Verb = 'allow' | 'deny' | 'defer';
export const VERBS: readonly Verb[] = ['allow', 'deny', 'defer'];
export type ConditionKey = keyof typeof Conditions.shape;
export const CONDITION_KEYS = Object.keys(Conditions.shape) as ConditionKey[];

/** The keys that may stand where `path` leads; undefined where any may. */
export const keysAt = (path: readonly (string | number)[]): readonly string[] | undefined => {
  const [first, second, third] = path;
  if (path.length === 0) return Object.keys(PolicySchema.shape);
  if (first === 'tests') {
    if (third === 'window') return Object.keys(TestWindow.shape);
    if (third === 'certificate') return Object.keys(TestCertificate.shape);
    return path.length === 2 ? Object.keys(Test.shape) : undefined;
  }
  if (first === 'senders') return path.length === 2 ? Object.keys(Sender.shape) : undefined;
  if (first !== 'rules' || typeof second !== 'number')
    return path.length === 3 ? ['file', 'sendmail', 'postfix'] : undefined;
  if (third === undefined) return Object.keys(Rule.shape);
  if (third === 'reply') return Object.keys(ReplyMap.shape);
  if (third === 'limit') return Object.keys(Limit.shape);
  return path[3] === 'tls' ? Object.keys(TlsMap.shape) : CONDITION_KEYS;
};

/** The JSON Schema (draft 2020-12) that ships for editors. */
export const policyJsonSchema = (): unknown => ({
  title: 'Sekisho policy',
  ...z.toJSONSchema(PolicySchema),
});
