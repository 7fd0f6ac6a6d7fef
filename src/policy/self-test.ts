/**
 * Is the relay closed? Tries every known form of relaying on a policy, as a stranger, by the same parser and the same
 * verdicts as mail. Nothing is sent. A recipient that the policy lets pass on purpose, such as a domain that the site is
 * secondary MX for, is no stranger's: the victims here are names that nobody lists by themselves.
 */
import type { OpenForm } from '../base/events.js';
import { type Ip, parseIp } from '../base/ip.js';
import { DEFAULT_LENIENCY, parseCommand } from '../smtp/command.js';
import type { Path } from '../smtp/path.js';
import type { Policy } from './compile.js';
import { decide } from './decide.js';
import { envelopeFacts } from './envelope.js';
import { type Facts, NOT_LISTED } from './facts.js';
import { type FormNames, type RelayForm, relayForms, wideForms } from './relay-forms.js';

export interface SelfTestOptions {
  /** Those on which a client need not have logged in. */
  readonly listeners: readonly string[];
  /** The host's own name and an IPv4 address of it. */
  readonly host: string;
  readonly ip: string;
}

export interface SelfTest {
  /** How many forms were tried. */
  readonly forms: number;
  /** Each form once, with the first way in which it is open. */
  readonly open: readonly OpenForm[];
  /** Forms that are only put off, because a rule asks for what is not known of the stranger. */
  readonly undecided: number;
}

const VICTIM = 'sekisho-relay-test.invalid';
const SENDER = 'stranger.invalid';

/** Local names through which the routed forms are tried. */
const MOST_DOMAINS = 4;

type Said = Pick<Facts, 'from' | 'to'>;

const pathIn = (line: string): Path | undefined => {
  const octets = Buffer.from(line, 'latin1');
  const read = parseCommand(octets, 0, octets.length, {
    utf8: false,
    smtpUtf8Available: true,
    leniency: DEFAULT_LENIENCY,
  });
  return read.ok && (read.value.verb === 'MAIL' || read.value.verb === 'RCPT') ? read.value.path : undefined;
};

/** What a session would ask the policy; undefined: it goes no further than the parser. */
const askedBy = ({ mail, rcpt }: RelayForm): Said | undefined => {
  const from = pathIn(mail);
  const to = from === undefined ? undefined : pathIn(rcpt);
  return from === undefined || to === undefined ? undefined : envelopeFacts(from, to);
};

/** Addresses for documentation (RFC 5737, RFC 3849, RFC 9637): nobody is there. */
const STRANGERS: readonly (readonly string[])[] = [
  ['203.0.113', '198.51.100', '192.0.2'].flatMap((net) => [7, 77, 147, 217].map((last) => `${net}.${last}`)),
  ['2001:db8:fffe:7::7', '2001:db8:77:77::7', '2001:db8::7', '3fff:fe:7::7', '3fff::7'],
];

/** One address of each family that none of the policy's networks holds; the first one where they hold all. */
const strangers = ({ rules }: Policy): readonly Ip[] => {
  const conditions = rules.flatMap((rule) => rule.conditions.filter(({ key }) => key === 'client'));
  return STRANGERS.flatMap((texts) => {
    const all = texts.map(parseIp).filter((ip) => ip !== undefined);
    const free = all.find((client) =>
      conditions.every((condition) => condition.holds(factsOf({ client })) !== 'yes'),
    );
    return free ?? all[0] ?? [];
  });
};

const NOBODY: Said = { from: { address: '', domain: '' }, to: { address: '', readings: [] } };

/** All that can be known of a stranger is known. */
const factsOf = ({ client, ...rest }: Pick<Facts, 'client'> & Partial<Facts>): Facts => ({
  client,
  clientName: { known: true, value: undefined },
  windows: { known: true, value: [] },
  listed: { known: true, value: NOT_LISTED },
  listener: '',
  helo: SENDER,
  ...NOBODY,
  ...rest,
});

interface Stranger {
  readonly facts: Omit<Facts, 'from' | 'to'>;
  readonly how: string;
}

/** The ways to come: by either family, on every listener, in clear text and by TLS, with either name in HELO. */
const waysIn = (policy: Policy, listeners: readonly string[], domain: string): readonly Stranger[] =>
  strangers(policy).flatMap((client) =>
    listeners.flatMap((listener) =>
      [undefined, 'TLSv1.3'].flatMap((tls) =>
        [SENDER, domain].map((helo) => ({
          facts: factsOf({ client, listener, helo, ...(tls === undefined ? {} : { tls }) }),
          how: `from ${client.text} on ${listener} ${tls === undefined ? 'in clear text' : `over ${tls}`}, HELO ${helo}`,
        })),
      ),
    ),
  );

class Trial {
  readonly #policy: Policy;
  readonly #open = new Map<string, OpenForm>();
  readonly #undecided = new Set<string>();
  readonly #names = new Set<string>();

  constructor(policy: Policy) {
    this.#policy = policy;
  }

  run(forms: readonly RelayForm[], ways: readonly Stranger[]): void {
    for (const form of forms) {
      this.#names.add(form.name);
      const said = this.#open.has(form.name) ? undefined : askedBy(form);
      if (said !== undefined) this.#ask(form, said, ways);
    }
  }

  #ask({ name, mail, rcpt }: RelayForm, said: Said, ways: readonly Stranger[]): void {
    for (const { facts, how } of ways) {
      const { kind, rule = '', reason } = decide(this.#policy, { ...facts, ...said });
      if (kind === 'allow') {
        this.#open.set(name, { form: name, mail, rcpt, rule, how });
        return;
      }
      if (reason === 'unknown-fact') this.#undecided.add(name);
    }
  }

  get result(): SelfTest {
    const undecided = [...this.#undecided].filter((name) => !this.#open.has(name)).length;
    return { forms: this.#names.size, open: [...this.#open.values()], undecided };
  }
}

/** Tries the policy. Takes some ten milliseconds, whatever the size of its lists. */
export const selfTest = (policy: Policy, { listeners, host, ip }: SelfTestOptions): SelfTest => {
  const trial = new Trial(policy);
  const allowed = policy.rules.filter(({ verb, shadow }) => verb === 'allow' && !shadow);
  const domains = [...new Set([...allowed.flatMap(({ through }) => through), host])].slice(0, MOST_DOMAINS);
  for (const [i, domain] of domains.entries()) {
    const names: FormNames = { domain, host, ip, victim: VICTIM, sender: SENDER };
    const ways = waysIn(policy, listeners, domain);
    // Through the first domain by all ways; through the others by the plainest.
    trial.run(relayForms(names), i === 0 ? ways : ways.slice(0, 1));
    if (i === 0) trial.run(wideForms(names), ways);
  }
  return trial.result;
};
