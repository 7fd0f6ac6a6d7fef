/**
 * The shape of a policy file. What a shape cannot say (lists that exist, rules that can be reached) is said
 * by `compile`. `policies/policy.schema.json` is generated from here, for editors.
 */
import { z } from 'zod';

const TLS_ERROR = 'must be true, false, or a least version: "1.2" or "1.3"';
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
    login: words('Not yet available.').optional(),
    window: words('Not yet available.').optional(),
    tls: z
      .union([z.boolean(), z.enum(['1.0', '1.1', '1.2', '1.3'], { error: TLS_ERROR })], { error: TLS_ERROR })
      .describe('Whether the connection is under TLS, or the least version of it.')
      .optional(),
    listed: words('Not yet available.').optional(),
  },
  { error: 'must be a map of conditions; {} means always' },
);

const Limit = z.strictObject({
  recipients: text.optional(),
  messages: text.optional(),
  per: text.optional(),
  // biome-ignore lint/suspicious/noThenProperty: the word the policy format has; the value is a schema, no function.
  then: text.optional(),
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
    limit: Limit.describe('Not yet available.').optional(),
    i_know: z
      .literal('open relay', { error: 'must be the words: open relay' })
      .describe('Admits that this rule lets anybody send anywhere.')
      .optional(),
  },
  { error: 'must be a map: a name and one of allow, deny, defer' },
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
      .enum(['1.0', '1.1', '1.2', '1.3'], { error: 'must be a version: "1.2" or "1.3"' })
      .describe('The TLS version in force; absent in clear text.')
      .optional(),
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
    tests: z.array(Test, { error: 'must be a list of tests' }).optional(),
  },
  { error: 'must be a policy: a map with version, networks, domains, rules and tests' },
);

/** The parts that are checked one by one, so that a fault in one does not hide the faults in another. */
export const PART = { policy: PolicySchema, list: List, rule: Rule, test: Test } as const;

export type ListInput = z.infer<typeof List>;
export type EntryInput = z.infer<typeof Entry>;
export type RuleInput = z.infer<typeof Rule>;
export type ConditionsInput = z.infer<typeof Conditions>;
export type TestInput = z.infer<typeof Test>;

export type Verb = 'allow' | 'deny' | 'defer';
export const VERBS: readonly Verb[] = ['allow', 'deny', 'defer'];
export type ConditionKey = keyof typeof Conditions.shape;
export const CONDITION_KEYS = Object.keys(Conditions.shape) as ConditionKey[];

/** The keys that may stand where `path` leads; undefined where any may. */
export const keysAt = (path: readonly (string | number)[]): readonly string[] | undefined => {
  const [first, second, third] = path;
  if (path.length === 0) return Object.keys(PolicySchema.shape);
  if (first === 'tests') return path.length === 2 ? Object.keys(Test.shape) : undefined;
  if (first !== 'rules' || typeof second !== 'number')
    return path.length === 3 ? ['file', 'sendmail', 'postfix'] : undefined;
  if (third === undefined) return Object.keys(Rule.shape);
  if (third === 'reply') return Object.keys(ReplyMap.shape);
  if (third === 'limit') return Object.keys(Limit.shape);
  return CONDITION_KEYS;
};

/** The JSON Schema (draft 2020-12) that ships for editors. */
export const policyJsonSchema = (): unknown => ({
  title: 'Sekisho policy',
  ...z.toJSONSchema(PolicySchema),
});
