/** `- ldap: ldaps://dir.example.org`: passwords that an LDAP directory judges. */
import { z } from 'zod';
import { type LdapOptions, LdapStore } from '../../identity/stores/ldap.js';
import { type LdapServer, parseLdapUrl } from '../../identity/stores/ldap-connection.js';
import { comparedAttribute, dnTemplateFault, filterFault, isDn } from '../../identity/stores/ldap-names.js';
import { count, Duration, milliseconds, oneOf, text } from '../config-fields.js';
import { caFault, secretOf, type Tools } from './files.js';
import type { LoginSource, LoginTools } from './source.js';

const ATTRIBUTE = /^[A-Za-z][A-Za-z0-9-]{0,63}$/;
const attributeError = 'must be the name of an LDAP attribute, such as uid or mail';
const Attribute = z.string({ error: attributeError }).regex(ATTRIBUTE, { error: attributeError });
const Url = text('a URL such as ldaps://dir.example.org or ldap://127.0.0.1:389');

const Schema = z.strictObject(
  {
    ldap: z.union([Url, z.array(Url).min(1, 'must hold at least one URL')], {
      error: 'must be a URL such as ldaps://dir.example.org, or a list of them',
    }),
    starttls: z.boolean({ error: 'must be true or false' }).optional(),
    ca: text('the path of a PEM file').optional(),
    server_name: text('the name in the certificate of the directory').optional(),
    bind_dn: text('a DN such as cn=reader,dc=example,dc=org').optional(),
    bind_password_file: text('the path of a file that holds a password').optional(),
    base: z.string({ error: 'must be a DN such as ou=people,dc=example,dc=org' }).optional(),
    filter: text('a filter such as (uid={user})').optional(),
    scope: oneOf(['sub', 'one', 'base']).optional(),
    dn_template: text('a DN such as uid={user},ou=people,dc=example,dc=org').optional(),
    name_attribute: Attribute.optional(),
    senders_attribute: Attribute.optional(),
    timeout: Duration.optional(),
    max_attempts: count(1, 10_000).optional(),
  },
  { error: 'must be a map with ldap, and base and filter or dn_template' },
);
type Entry = z.infer<typeof Schema>;

const DEFAULT_TIMEOUT = 10_000;
const DEFAULT_ATTEMPTS = 32;
const DEFAULT_FILTER = '(uid={user})';

const urlsOf = ({ ldap }: Entry): string[] => [ldap].flat();
const templateOf = (entry: Entry): string => entry.dn_template ?? entry.filter ?? DEFAULT_FILTER;

const LOOPBACK = /^(?:127\.\d+\.\d+\.\d+|::1|localhost)$/i;

/** By default passwords do not leave this host in clear text. */
const serverOf = (url: string, startTls: boolean | undefined): LdapServer | undefined => {
  const server = parseLdapUrl(url, true);
  return server === undefined ? undefined : parseLdapUrl(url, startTls ?? !LOOPBACK.test(server.host));
};

const SEARCH_KEYS = ['base', 'filter', 'scope', 'bind_dn', 'bind_password_file'] as const;

const placeFaults = (entry: Entry): string[] => {
  const faults: string[] = [];
  const { base, bind_dn: bindDn, bind_password_file: file, dn_template: template, filter } = entry;
  if (template !== undefined) {
    const fault = dnTemplateFault(template);
    if (fault !== undefined) faults.push(`dn_template ${fault}.`);
    for (const key of SEARCH_KEYS)
      if (entry[key] !== undefined)
        faults.push(`${key} is for a search and dn_template for none: take one of them out.`);
    return faults;
  }
  if (base === undefined)
    faults.push('base is missing. Say where people are, such as ou=people,dc=example,dc=org.');
  else if (base !== '' && !isDn(base)) faults.push(`base "${base}" is not a DN.`);
  const fault = filterFault(filter ?? DEFAULT_FILTER);
  if (fault !== undefined) faults.push(`filter ${fault}.`);
  if (
    fault === undefined &&
    entry.name_attribute === undefined &&
    comparedAttribute(templateOf(entry)) === undefined
  )
    faults.push('name_attribute is missing: the filter compares no attribute with {user} alone.');
  if ((bindDn === undefined) !== (file === undefined))
    faults.push(
      'bind_dn and bind_password_file belong together: give both or, for a search by nobody, none.',
    );
  // Active Directory takes a name such as reader@corp.example for a DN.
  if (bindDn !== undefined && !isDn(bindDn) && !/^[^\s@=]+@[^\s@=]+$/.test(bindDn))
    faults.push(`bind_dn "${bindDn}" is not a DN.`);
  return faults;
};

const fileFaults = (entry: Entry, tools: Tools): string[] => {
  const faults: string[] = [];
  if (entry.bind_password_file !== undefined) {
    const read = secretOf(entry.bind_password_file, tools);
    if ('fault' in read) faults.push(`bind_password_file ${read.fault}.`);
  }
  const fault = entry.ca === undefined ? undefined : caFault(entry.ca, tools);
  return fault === undefined ? faults : [...faults, `ca ${fault}.`];
};

const accountOf = (entry: Entry, tools: Tools): { dn: string; password: string } | undefined => {
  if (entry.bind_dn === undefined || entry.bind_password_file === undefined) return undefined;
  const read = secretOf(entry.bind_password_file, tools);
  // check() has read it; if it went away since, no bind may go out without a password.
  if ('fault' in read) throw new Error(read.fault);
  return { dn: entry.bind_dn, password: read.secret };
};

const optionsOf = (entry: Entry, tools: LoginTools): LdapOptions => {
  const pem = entry.ca === undefined ? undefined : tools.read(tools.resolve(entry.ca));
  if (pem !== undefined && !pem.ok) throw new Error(`${entry.ca}: ${pem.error}`);
  return {
    servers: urlsOf(entry).flatMap((url) => serverOf(url, entry.starttls) ?? []),
    tls: { ca: pem?.value, serverName: entry.server_name },
    find:
      entry.dn_template === undefined
        ? {
            kind: 'search',
            account: accountOf(entry, tools),
            base: entry.base ?? '',
            filter: entry.filter ?? DEFAULT_FILTER,
            scope: entry.scope ?? 'sub',
          }
        : { kind: 'template', dn: entry.dn_template },
    nameAttribute: entry.name_attribute ?? comparedAttribute(templateOf(entry)) ?? 'uid',
    sendersAttribute: entry.senders_attribute,
    timeout: milliseconds(entry.timeout ?? '') ?? DEFAULT_TIMEOUT,
    maxAttempts: entry.max_attempts ?? DEFAULT_ATTEMPTS,
    note: tools.note,
  };
};

export const ldap: LoginSource<typeof Schema> = {
  key: 'ldap',
  schema: Schema,
  check: (entry, tools) => {
    const faults = urlsOf(entry).flatMap((url) =>
      serverOf(url, entry.starttls) === undefined
        ? [`"${url}" is not a URL of a directory. Write ldaps://dir.example.org or ldap://127.0.0.1:389.`]
        : [],
    );
    return [...faults, ...placeFaults(entry), ...fileFaults(entry, tools)];
  },
  create: (entry, tools) => {
    const options = optionsOf(entry, tools);
    for (const { url, host, security } of options.servers)
      if (security === 'none' && !LOOPBACK.test(host))
        tools.note({ type: 'warning', text: `${url}: passwords go over the network in clear text.` });
    return new LdapStore(options);
  },
};
