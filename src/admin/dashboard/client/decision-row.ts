/** One decision as a line of a list; it leads to the answer to "why?". */
import { address, h, wire } from './dom.js';
import { clockTime } from './format.js';
import { icon } from './icons.js';
import type { Decision } from './model.js';
import { badge, reasonOf, verdictWord } from './parts.js';

/** Where the question about a decision is asked; the facts stand in the address, so that it can be passed on. */
export const whyHref = (decision: Decision): string => {
  const { client, clientName, from, to, listener, helo, login, suspended, tls, window } = decision;
  const facts = {
    ...{ client, from: from === '' ? '<>' : from, to, listener, helo, clientName, tls },
    login: suspended === true ? undefined : login,
    window: window === undefined ? undefined : `${window.source}:${window.login}`,
  };
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(facts))
    if (value !== undefined && value !== '') query.set(name, value);
  return `#/why?${query}`;
};

const disagreeing = ({ shadows, verdict }: Decision) => shadows.filter(({ would }) => would !== verdict);

/** True if a shadow rule would have said something else. */
export const disagrees = (decision: Decision): boolean => disagreeing(decision).length > 0;

export const decisionRow = (decision: Decision): HTMLElement => {
  const { verdict, enforced, time, from, to, client, clientName, login, window, reply } = decision;
  const refusedLater = verdict === 'allow' && reply !== undefined && reply.result !== 'accepted';
  const owner = login ?? window?.login;
  // A sender that is refused never came to a recipient, and there is no more to ask.
  const asked = decision.reason !== 'sender';
  const said = [
    badge(verdict),
    h(
      'span',
      { class: 'decision-mail' },
      address(from),
      asked && [icon('arrow'), h('span', { class: 'unseen' }, ' to '), address(to)],
    ),
  ];
  const link = asked
    ? h('a', { href: whyHref(decision), class: 'decision-link' }, ...said)
    : h('span', { class: 'decision-link' }, ...said);
  return h(
    'li',
    { class: `decision ${verdict}`, 'data-id': decision.id },
    link,
    h('span', { class: 'decision-time' }, clockTime(time)),
    h(
      'span',
      { class: 'decision-note' },
      wire(client, 'wire client'),
      clientName !== undefined && [' ', wire(clientName)],
      owner !== undefined && [' as ', wire(owner, 'wire login')],
      window !== undefined && ` by ${window.source} window`,
      ' · ',
      reasonOf(decision),
      refusedLater && [', then ', h('b', {}, String(reply.code)), ' from the mail server'],
      !enforced &&
        h('span', { class: 'tag' }, icon('eye'), verdict === 'allow' ? 'observed' : 'observed, let pass'),
      ...disagreeing(decision).map(({ rule, would }) =>
        h('span', { class: 'tag' }, icon('eye'), `shadow “${rule}”: would be ${verdictWord(would)}`),
      ),
    ),
  );
};
