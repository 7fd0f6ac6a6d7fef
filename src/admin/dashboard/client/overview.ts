/** At a glance: is the relay closed, is the mail server well, what happens now, and how the last hours were. */
import { decisionRow, disagrees } from './decision-row.js';
import { fill, h, KeyedList, wire } from './dom.js';
import { count, ends, movingTime, plural } from './format.js';
import { icon } from './icons.js';
import { LastHours } from './last-hours.js';
import * as model from './model.js';
import { empty, follow, panel } from './parts.js';
import { policyAnswer, relayAnswer, selfAnswer, serverAnswer, Tile } from './tiles.js';

const sessionRow = ({ address, name, login, since, step, protocol, messages }: model.Session): HTMLElement =>
  h(
    'li',
    {},
    h('span', { class: 'row-main' }, wire(address, 'wire client'), name !== undefined && [' ', wire(name)]),
    h(
      'span',
      { class: 'row-note' },
      login !== undefined && [wire(login, 'wire login'), ' · '],
      `${protocol} · ${step} · ${messages > 0 ? `${plural(messages, 'message')} · ` : ''}`,
      movingTime('for', since),
    ),
  );

const windowRow = ({ login, address, source, until, used, budget }: model.Window): HTMLElement =>
  h(
    'li',
    {},
    h('span', { class: 'row-main' }, wire(login, 'wire login'), ' at ', wire(address, 'wire client')),
    h(
      'span',
      { class: 'row-note' },
      `by ${source} · ${count(used)}${budget > 0 ? ` of ${count(budget)}` : ''} sent · `,
      ends(until),
    ),
  );

const suspendedRow = ({ login, until, why }: model.Suspended): HTMLElement =>
  h(
    'li',
    {},
    h('span', { class: 'row-main' }, wire(login, 'wire login')),
    h('span', { class: 'row-note' }, wire(why), ' · ', ends(until, 'until it is lifted')),
  );

/** A short list: the first few, and how many there are. */
const brief = <T>(
  title: string,
  href: string,
  none: string,
  slice: Parameters<typeof follow<readonly T[]>>[0],
  keyOf: (item: T) => string,
  row: (item: T) => HTMLElement,
): { readonly element: HTMLElement; readonly start: () => () => void } => {
  const total = h('span', { class: 'count' });
  const body = h('div');
  const list = h('ul', { class: 'rows' });
  const keyed = new KeyedList<T>(list, keyOf, row);
  const element = panel(title, { more: [total, h('a', { class: 'more', href }, 'all')] }, body);
  const draw = (items: readonly T[]): void => {
    total.textContent = count(items.length);
    keyed.show(items.slice(0, 5));
    fill(body, items.length === 0 ? empty(none) : list);
  };
  return { element, start: () => follow(slice, body, draw) };
};

const SHOWN = 12;

/** Puts the view into `main`; returns how to stop it. */
export const overview = (main: HTMLElement): (() => void) => {
  const relay = new Tile('Is the relay closed?', '#/policy');
  const server = new Tile('Is the mail server well?', '#/connections');
  const law = new Tile('Which policy?', '#/policy');
  const self = new Tile('Is Sekisho well?', '#/connections');
  const plots = new LastHours();
  const list = h('ol', { class: 'decisions', reversed: true });
  const keyed = new KeyedList<model.Decision>(list, ({ id }) => String(id), decisionRow);
  const now = h('div');
  const shadows = h('p', { class: 'shadow-note', hidden: true });
  const more = h('a', { class: 'more', href: '#/decisions' }, 'all');
  const connected = brief(
    'Who is connected',
    '#/connections',
    'Nobody at the moment.',
    model.sessions,
    (each) => each.session,
    sessionRow,
  );
  const open = brief(
    'Open windows',
    '#/logins',
    'None is open.',
    model.windows,
    (each) => `${each.login} ${each.address}`,
    windowRow,
  );
  const barred = brief(
    'Suspended logins',
    '#/logins',
    'None.',
    model.suspended,
    (each) => each.login,
    suspendedRow,
  );
  main.append(
    h('h1', { class: 'unseen' }, 'Overview'),
    h(
      'div',
      { class: 'tiles', role: 'status', 'aria-live': 'polite' },
      ...[relay, server, law, self].map(({ element }) => element),
    ),
    h(
      'div',
      { class: 'columns' },
      h('div', { class: 'column' }, plots.element, panel('Now', { more }, shadows, now)),
      h('div', { class: 'column side' }, connected.element, open.element, barred.element),
    ),
  );
  const tellRelay = (): void => {
    const test = model.selfTest.value;
    if (test !== undefined) relay.show(relayAnswer(test, model.status.value?.policy.observe === true));
    else if (model.selfTest.failure !== undefined)
      relay.show({ tone: 'none', word: 'Not known', text: model.selfTest.failure.text });
  };
  const stops = [
    model.status.listen(() => {
      const status = model.status.value;
      if (status === undefined) return;
      law.show(policyAnswer(status));
      self.show(selfAnswer(status));
      tellRelay();
    }),
    model.selfTest.listen(tellRelay),
    model.upstreams.listen(() => {
      if (model.upstreams.value !== undefined) server.show(serverAnswer(model.upstreams.value));
    }),
    model.history.listen(() => {
      if (model.history.value !== undefined) plots.show(model.history.value);
    }),
    model.recent.listen(() => {
      const { all } = model.recent;
      keyed.show(all.slice(0, SHOWN));
      const still = 'No mail has been judged since Sekisho started.';
      const child = all.length === 0 ? empty(still, 'What comes appears here by itself.') : list;
      if (now.firstChild !== child) fill(now, child);
      const differ = all.filter(disagrees).length;
      shadows.hidden = differ === 0;
      fill(
        shadows,
        icon('eye'),
        `Shadow rules would have decided otherwise on ${count(differ)} of the last ${count(all.length)}. `,
        h('a', { href: '#/decisions?show=shadow' }, 'Show them'),
      );
    }),
    connected.start(),
    open.start(),
    barred.start(),
  ];
  return () => {
    for (const stop of stops) stop();
  };
};
