/** `sekisho probe`: does this server relay? Nothing is delivered: it stops at RCPT. */
import { lookup } from 'node:dns/promises';
import { hostname, networkInterfaces } from 'node:os';
import { greetingOf, type ProbeResult, type ProbeTarget, probe } from '../../audit/relay-probe.js';
import { parseIp } from '../../base/ip.js';
import { isNear } from '../../base/near.js';
import { type FormNames, relayForms } from '../../policy/relay-forms.js';
import { safeText } from '../../smtp/reply.js';
import { complain, print } from '../output.js';

interface Options {
  readonly domain?: string;
  readonly sender: string;
  readonly victim: string;
  readonly timeout: string;
  readonly json?: boolean;
}

const isOwn = (address: string): boolean =>
  Object.values(networkInterfaces()).some((list) => list?.some((each) => each.address === address) === true);

/** `host`, `host:port`, `[v6]:port`. */
const placeOf = (text: string): { host: string; port: number } | undefined => {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)|([0-9a-fA-F:]+))(?::(\d{1,5}))?$/.exec(
    parseIp(text) === undefined ? text : `[${text}]`,
  );
  const host = match?.[1] ?? match?.[2] ?? match?.[3];
  const port = Number(match?.[4] ?? 25);
  return host === undefined || port < 1 || port > 65_535 ? undefined : { host, port };
};

const VERDICTS = {
  open: 'OPEN RELAY: it took mail from outside for outside.',
  odd: 'MAY BE OPEN: it took recipients that old mail servers send on. Whether it would, only a delivery shows.',
  closed: 'Closed: it took none of the recipients.',
  untold: 'Cannot tell: it did not let the question be asked.',
} as const;

type Verdict = keyof typeof VERDICTS;

/** A recipient at the victim's own domain, written as everybody writes it. */
const isPlain = ({ rcpt }: ProbeResult, victim: string): boolean =>
  new RegExp(`^RCPT TO:<?[a-z]+@${victim.replace(/\./g, '\\.')}>?$`, 'i').test(rcpt);

const verdictOf = (results: readonly ProbeResult[], victim: string): Verdict => {
  const accepted = results.filter(({ outcome }) => outcome === 'accepted');
  if (accepted.some((each) => isPlain(each, victim))) return 'open';
  if (accepted.length > 0) return 'odd';
  // A sender that was refused says nothing of recipients.
  const asked = results.some(
    (each) => isPlain(each, victim) && each.outcome === 'refused' && each.to === 'rcpt',
  );
  return asked ? 'closed' : 'untold';
};

/** Several lines on one. What a server says must not paint the terminal. */
const shown = (text: string): string => safeText(text.replace(/\n/g, ' / '));

const render = (
  results: readonly ProbeResult[],
  names: FormNames,
  greeting: string,
  verdict: Verdict,
): string => {
  const count = (outcome: ProbeResult['outcome']): number =>
    results.filter((each) => each.outcome === outcome).length;
  const lines = (outcome: ProbeResult['outcome']): string[] =>
    results
      .filter((each) => each.outcome === outcome)
      .map(({ name, mail, rcpt, said }) => `  ${name}: ${shown(mail)} | ${shown(rcpt)}: ${shown(said)}`);
  return [
    `Greeting: ${shown(greeting)}`,
    `Tried as ${names.domain}, ${names.host}, [${names.ip}]`,
    VERDICTS[verdict],
    `${results.length} forms: ${count('accepted')} taken, ${count('refused')} refused, ${count('deferred')} put off, ${count('untold')} not told`,
    ...(count('accepted') > 0 ? ['Taken:', ...lines('accepted')] : []),
    ...(count('untold') > 0 ? ['Not told:', ...lines('untold').slice(0, 5)] : []),
  ].join('\n');
};

/** Exit code 0: closed. 1: open, or it may be. 2: a fault, or it cannot be told. */
export const probeCommand = async (
  where: string,
  again: string | undefined,
  options: Options,
): Promise<void> => {
  const place = placeOf(where);
  if (place === undefined) return complain([`probe ${where}: must be HOST or HOST:PORT`], 2);
  const seconds = Number(options.timeout);
  if (!(seconds > 0 && seconds <= 600))
    return complain([`--timeout ${options.timeout}: must be seconds, up to 600`], 2);
  let address: string;
  try {
    address = (await lookup(place.host)).address;
  } catch (error) {
    return complain([`probe ${where}: ${(error as Error).message}`], 2);
  }
  const ip = parseIp(address);
  if (ip === undefined || !(isNear(ip) || isOwn(address))) {
    if (again !== where)
      return complain(
        [
          `probe ${where}: ${address} is neither of this machine nor a private address. Probe what you own, nothing else;`,
          `if it is yours, say it twice: sekisho probe ${where} ${where}`,
        ],
        2,
      );
  }
  const target: ProbeTarget = {
    host: address,
    port: place.port,
    patience: seconds * 1_000,
    helo: hostname() || 'localhost',
  };
  try {
    const greeting = await greetingOf(target);
    const host = greeting.name ?? place.host;
    const names: FormNames = {
      domain: options.domain ?? (host.split('.').length > 2 ? host.slice(host.indexOf('.') + 1) : host),
      host,
      ip: ip?.family === 4 ? ip.text : '127.0.0.1',
      victim: options.victim,
      sender: options.sender,
    };
    const results = await probe(target, relayForms(names), `MAIL FROM:<a@${options.sender}>`);
    const verdict = verdictOf(results, options.victim);
    print(
      options.json === true
        ? JSON.stringify(
            { verdict, greeting: greeting.text, address, port: place.port, names, results },
            null,
            2,
          )
        : render(results, names, greeting.text, verdict),
    );
    process.exitCode = { open: 1, odd: 1, closed: 0, untold: 2 }[verdict];
  } catch (error) {
    complain([`probe ${where}: ${shown((error as Error).message)}`], 2);
  }
};
