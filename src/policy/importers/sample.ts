/** Mail that shows where an old server and a policy differ: from each network and from outside, to each kind of recipient. */
import { type Cidr, parseIp, spanCovers, spanOf, textOf } from '../../base/ip.js';
import type { RecordedDecision } from '../replay.js';
import { type OldServer, oldServer } from './old-answer.js';
import type { Site } from './site.js';

/** Documentation addresses (RFC 5737, 3849), some of which a site may have in its lists. */
const STRANGERS = ['203.0.113.9', '198.51.100.9', '192.0.2.9', '2001:db8:ffff::9'];
/** Of each list; a site with thousands of domains shows nothing more with all of them. */
const MOST = 40;

/** An address of a block that is not its first, where it has one. */
export const someAddress = ({ family, first, prefix }: Cidr): string | undefined => {
  const words = [...first];
  words[words.length - 1] = words.at(-1)! + (prefix < (family === 4 ? 32 : 128) ? 1 : 0);
  return parseIp(textOf(words))?.text;
};

/** The documentation address that no list of the site has. */
export const strangerTo = (site: Site): string =>
  STRANGERS.find((address) => {
    const client = parseIp(address);
    return (
      client !== undefined &&
      !site.clients.some(({ network }) => network.prefix > 0 && spanCovers(network, spanOf(client)))
    );
  }) ?? '203.0.113.9';

const mailbox = (entry: string): string => (entry.includes('@') ? entry : `hoge@${entry.replace(/^\./, '')}`);

/** What the old server would have said to the sample, as decisions that a policy can judge anew. */
export const sampleOf = (site: Site): RecordedDecision[] => {
  const server = oldServer(site);
  const clients = [
    strangerTo(site),
    ...site.clients.slice(0, MOST).flatMap(({ network }) => someAddress(network) ?? []),
  ];
  const domains = [...site.local, ...site.relayed]
    .slice(0, MOST)
    .filter(({ entry }) => !entry.startsWith('['));
  const first = domains.find(({ entry }) => !entry.includes('@'))?.entry.replace(/^\./, '');
  const senders = ['x@sender.example', ...site.senders.slice(0, MOST).map(({ entry }) => mailbox(entry))];
  const recipients = [
    'y@victim.example',
    ...(first === undefined ? [] : [`y%victim.example@${first}`, `victim.example!y@${first}`]),
    ...domains.flatMap(({ entry }) => [
      mailbox(entry),
      ...(entry.startsWith('.') ? [`hoge@host${entry}`] : []),
    ]),
    ...site.recipients.slice(0, MOST).map(({ entry }) => mailbox(entry)),
  ];
  return clients.flatMap((client) =>
    senders.flatMap((from, nth) =>
      // A sender that is refused is refused everywhere: one recipient shows it.
      (nth === 0 ? recipients : recipients.slice(0, 1)).map((to) =>
        withOldAnswer(server, { client, listener: 'mx', from, to }),
      ),
    ),
  );
};

/** A decision with what the old server would have said, in place of what was said. */
export const withOldAnswer = (server: OldServer, decision: RecordedDecision): RecordedDecision => {
  const client = parseIp(decision.client);
  if (client === undefined) return { ...decision, verdict: undefined };
  const { verdict, why } = server({ client, from: decision.from, to: decision.to });
  return { ...decision, named: true, windows: [], verdict, rule: why };
};
