import { parseEndpoint } from '../../app/config-fields.js';
import { ownName } from '../../app/own-name.js';
import { type Advice, advise, type OpenHole } from '../../shield/advice.js';
import { type Product, productOf } from '../../shield/product.js';
import { offeredKeywords, parseCapabilities } from '../../smtp/capabilities.js';
import { safeText } from '../../smtp/reply.js';
import { askServer } from '../ask-server.js';
import { type IdentityAdvice, identityAdvice } from '../identity-advice.js';
import { complain, print } from '../output.js';

const nameOf = ({ name, version, configuration }: Product): string => {
  if (name === undefined) return 'not known';
  const both = configuration === undefined ? '' : `, configuration ${configuration}`;
  return `${name} ${version ?? '(which version it does not say)'}${both}`;
};

const label = ({ cve, id }: OpenHole): string => (cve.length === 0 ? id : cve.join(', '));

const lineOf = (hole: OpenHole): string => {
  const how = hole.closedBy.length === 0 ? '' : `: ${hole.closedBy.join(', ')}`;
  const remark = hole.remark === undefined ? '' : ` (${hole.remark})`;
  return `  ${label(hole)}: ${hole.what}; ${hole.versions}${how}${remark}`;
};

const section = (title: string, holes: readonly OpenHole[]): string[] =>
  holes.length === 0 ? [] : [title, ...holes.map(lineOf)];

const shown = (
  endpoint: string,
  advice: Advice,
  greeting: string,
  ehlo: readonly string[] | undefined,
  identity: IdentityAdvice,
): string => {
  const { product, preset, holes, upgradeTo, remarks } = advice;
  const keywords = ehlo?.slice(1).map(safeText).join(', ');
  const offered = offeredKeywords(parseCapabilities(ehlo ?? []), { maxSize: 0, starttls: false });
  return [
    `${endpoint}: ${safeText(greeting)}`,
    `is:      ${nameOf(product)}`,
    `EHLO:    ${keywords ?? 'not understood: HELO only'}`,
    `clients: see ${offered.join(', ')}, and what Sekisho adds (STARTTLS, AUTH)`,
    `patches: shield: ${preset}`,
    ...section(
      'Known holes that Sekisho closes:',
      holes.filter(({ closedBy }) => closedBy.length > 0),
    ),
    ...section(
      'Known holes that stay open:',
      holes.filter(({ closedBy }) => closedBy.length === 0),
    ),
    ...(holes.length === 0 && product.name !== undefined ? ['No hole that Sekisho knows of is open.'] : []),
    ...(upgradeTo === undefined ? [] : [`Upgrade to ${product.name} ${upgradeTo} or later.`]),
    ...remarks,
    'Who the client is:',
    ...identity.lines.map((line) => `  ${line}`),
  ].join('\n');
};

export const upstream = async (given: string, { json }: { readonly json?: boolean }): Promise<void> => {
  const endpoint = parseEndpoint(given);
  if (endpoint === undefined || endpoint.host === '' || endpoint.port === 0)
    return complain([`${given}: not a host and port. Write mail.example.org:25 or [2001:db8::1]:25.`], 2);
  const words = await askServer(endpoint.host, endpoint.port, ownName());
  if (!words.ok) return complain([`${given}: ${words.error}`], 1);
  const { greeting, ehlo, from } = words.value;
  const advice = advise(productOf(greeting.join(' ')));
  const identity = identityAdvice(advice.product.name, ehlo, from);
  if (json === true)
    return print(
      JSON.stringify({ endpoint: given, greeting, ehlo: ehlo ?? null, ...advice, identity }, null, 2),
    );
  print(shown(given, advice, greeting.join(' / '), ehlo, identity));
};
