/** Is the relay closed, and are those who may send anywhere as few as they should be? */
import type { Setup } from '../app/config.js';
import { tryRelaying } from '../app/self-test.js';
import type { IpSet } from '../base/ip.js';
import { CARRIER_BLOCKS, NEAR_BLOCKS } from '../base/near.js';
import { type Finding, finding } from './finding.js';

/**
 * Public addresses from which on "our own networks" is doubtful, and from which on it is wrong: more than a /14 and more
 * than a /8 of IPv4, more than a /28 and more than a /20 of IPv6 (a large provider's allocation is a /29 or so).
 */
const WIDE = {
  4: { warn: 2 ** -14, fault: 2 ** -8 },
  6: { warn: 2 ** -28, fault: 2 ** -20 },
} as const;

/** The share of a family's address space that is trusted and public. */
const publicShare = (trusted: readonly IpSet[], family: 4 | 6): number =>
  trusted.reduce((sum, set) => {
    const near = NEAR_BLOCKS.filter((block) => block.family === family);
    return sum + set.share(family) - near.reduce((part, block) => part + set.share(family, block), 0);
  }, 0);

const trust = ({ proxy: { policy } }: Setup): Finding[] => {
  const found: Finding[] = [];
  for (const family of [4, 6] as const) {
    const share = publicShare(policy.trusted, family);
    const { warn, fault } = WIDE[family];
    if (share <= warn) continue;
    const size = Math.round(-Math.log2(share));
    found.push(
      finding(
        'policy',
        share > fault ? 'fault' : 'warn',
        `networks as large as a /${size} of public IPv${family} addresses may send anywhere by their address alone`,
        'Name your own networks and no more: one infected machine among them sends through your server.',
      ),
    );
  }
  if (policy.trusted.some((set) => CARRIER_BLOCKS.some((block) => set.share(4, block) > 0)))
    found.push(
      finding(
        'policy',
        'warn',
        'addresses of 100.64.0.0/10 may send anywhere: there many customers of a carrier share one address',
        'Let those users log in (logins:) instead of trusting their addresses.',
      ),
    );
  return found;
};

/** The self-test of all relay forms, and the width of what is trusted. */
export const policyFindings = (setup: Setup): readonly Finding[] => {
  const { policy, observe } = setup.proxy;
  const { forms, open, undecided } = tryRelaying(policy, setup.proxy);
  const [first] = open;
  const closed =
    first === undefined
      ? finding('policy', 'ok', `${forms} ways of relaying were tried on the policy: none is open`)
      : finding(
          'policy',
          'fault',
          `open relay: ${open.length} of ${forms} ways are open, such as ${first.mail} ${first.rcpt} by rule "${first.rule}"`,
          `Narrow the rule "${first.rule}", and say so by a test in the policy; sekisho explain shows each rule's reason.`,
        );
  return [
    closed,
    ...(undecided === 0
      ? []
      : [finding('policy', 'note', `${undecided} ways are only put off (4xx): a rule waits for a fact`)]),
    ...(observe
      ? [
          finding(
            'policy',
            'fault',
            'observe is on: everything passes, the relay is as open as the mail server behind',
            'When the log shows what you expect, take out observe: true or --observe and restart.',
          ),
        ]
      : []),
    ...(policy.tests.length > 0
      ? []
      : [
          finding(
            'policy',
            'note',
            'the policy has no tests of its own',
            'Write what must never change under tests: they run before each reload.',
          ),
        ]),
    ...trust(setup),
  ];
};
