import { type Flags, loadSetup } from '../../app/config.js';
import { parseIp } from '../../base/ip.js';
import { envelopeFacts } from '../../policy/envelope.js';
import { explain, renderExplanation } from '../../policy/explain.js';
import type { Facts } from '../../policy/facts.js';
import { describeAddress } from '../../smtp/describe-address.js';
import type { Path } from '../../smtp/path.js';
import { complain, print } from '../output.js';

interface Options extends Flags {
  readonly client: string;
  readonly from: string;
  readonly to: string;
  readonly clientName?: string;
  readonly listener: string;
  readonly helo: string;
  readonly json?: boolean;
  readonly tls?: string;
}

/** The path, or why mail with it is refused before any rule is looked at. */
const pathOf = (
  flag: string,
  text: string,
  role: 'sender' | 'recipient',
): { path: Path } | { refused: string } => {
  const found = describeAddress(text);
  if (found.outcome === 'fault') return { refused: `${flag} ${text}: not an address (${found.fault})` };
  if (found.path.kind === 'null' && role === 'recipient')
    return { refused: `${flag}: a recipient cannot be empty` };
  if (found.outcome === 'hazard') return { refused: `${flag} ${text}: never passed on (${found.hazard})` };
  if (role === 'sender' && found.routedSender)
    return { refused: `${flag} ${text}: a sender with a route is never passed on` };
  return { path: found.path };
};

export const explainCommand = (options: Options): void => {
  // An upstream has no part in a verdict.
  const setup = loadSetup({ ...options, listen: undefined, upstream: ['127.0.0.1:25'], log: undefined });
  if (!setup.ok) return complain(setup.error, 2);
  const client = parseIp(options.client);
  if (client === undefined) return complain([`--client ${options.client}: not an IP address`], 2);
  const from = pathOf('--from', options.from, 'sender');
  const to = pathOf('--to', options.to, 'recipient');
  const refused = [from, to].flatMap((each) => ('refused' in each ? [each.refused] : []));
  if (!('path' in from) || !('path' in to)) {
    const text = `=> deny: refused before any rule: ${refused.join('; ')}`;
    return print(
      options.json === true ? JSON.stringify({ verdict: { kind: 'deny', why: refused } }, null, 2) : text,
    );
  }
  const { clientName, listener, helo } = options;
  const facts: Facts = {
    client,
    clientName:
      clientName === undefined
        ? { known: false, why: '--client-name was not given' }
        : { known: true, value: clientName.toLowerCase() },
    listener,
    ...(options.tls === undefined ? {} : { tls: `TLSv${options.tls}` }),
    helo: helo.toLowerCase(),
    ...envelopeFacts(from.path, to.path),
  };
  const explanation = explain(setup.value.proxy.policy, facts);
  print(options.json === true ? JSON.stringify(explanation, null, 2) : renderExplanation(explanation));
};
