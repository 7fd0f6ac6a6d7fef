/** Who is connected, the mail servers behind, who comes near a limit, and how much is logged. */
import { get, send } from './api.js';
import { address, fill, h, wire } from './dom.js';
import { clockTime, count, movingTime, plural } from './format.js';
import { icon } from './icons.js';
import * as model from './model.js';
import { act, badge, button, confirm, empty, follow, panel } from './parts.js';
import { Slice } from './slice.js';
import { ACTIONS, cell, table } from './tables.js';

interface Counter {
  readonly login?: string;
  readonly address?: string;
  readonly accepted: number;
  readonly refused: number;
  readonly limited: number;
  readonly loginsFailed: number;
}

interface Limits {
  readonly since: string;
  readonly logins: readonly Counter[];
  readonly addresses: readonly Counter[];
}

const limits = new Slice(() => get<Limits>('limits?limit=10'), 10_000);
const logLevel = new Slice(async () => (await get<{ level: string }>('log-level')).level, 30_000);

const sessionRow = (session: model.Session): HTMLElement => {
  const { login, from, rule, verdict, messages, recipients, tls } = session;
  return h(
    'tr',
    {},
    h(
      'th',
      { scope: 'row' },
      wire(session.address, 'wire client'),
      session.name !== undefined && [' ', wire(session.name)],
    ),
    cell('Since', movingTime('for', session.since)),
    cell('At', session.listener),
    cell('Speaks', `${session.protocol}${tls === undefined ? '' : `, ${tls}`}`),
    cell('Step', session.step),
    cell('Login', login === undefined ? '–' : wire(login, 'wire login')),
    cell(
      'Mail',
      from === undefined ? '–' : [address(from), `, ${plural(recipients, 'recipient')}`],
      messages > 0 && ` (${plural(messages, 'message')} before)`,
    ),
    cell('By', verdict === undefined ? '–' : [badge(verdict), ' ', rule ?? 'no rule']),
  );
};

const setDrain = async ({ name }: model.Upstream, draining: boolean): Promise<void> => {
  const path = `upstreams/${encodeURIComponent(name)}/${draining ? 'drain' : 'resume'}`;
  if (draining) {
    const sure = await confirm(
      `Drain ${name}?`,
      'It gets no new mail until it is resumed; what is under way goes on. Where no other mail server is left, mail is deferred.',
      'Drain',
    );
    if (!sure) return;
  }
  await act(draining ? `${name} is drained.` : `${name} is back in service.`, () => send('POST', path), [
    model.upstreams,
    model.status,
  ]);
};

const stateOf = ({ up, draining, reason }: model.Upstream): HTMLElement => {
  if (draining) return h('span', { class: 'state fair' }, icon('pause'), 'drained');
  if (up === undefined) return h('span', { class: 'state' }, icon('clock'), 'not tried yet');
  if (up) return h('span', { class: 'state good' }, icon('check'), 'up');
  return h(
    'span',
    { class: 'state bad' },
    icon('cross'),
    'down',
    reason !== undefined && [': ', wire(reason)],
  );
};

const upstreamRow = (upstream: model.Upstream): HTMLElement => {
  const { name, hostname, busy, idle, waiting, maxConnections, draining } = upstream;
  const load = `${count(busy)} at work, ${count(idle)} idle, of ${count(maxConnections)}`;
  return h(
    'tr',
    {},
    h('th', { scope: 'row' }, name),
    cell('State', stateOf(upstream)),
    cell('Calls itself', hostname === undefined ? '–' : wire(hostname)),
    cell('Connections', load),
    cell('Waiting', count(waiting)),
    h(
      'td',
      { class: 'actions acts' },
      draining
        ? button('resume', 'Resume', () => setDrain(upstream, false), { label: `Resume ${name}` })
        : button('drain', 'Drain …', () => setDrain(upstream, true), { label: `Drain ${name}` }),
    ),
  );
};

const counterRow = ({ login, address: at, accepted, refused, limited, loginsFailed }: Counter): HTMLElement =>
  h(
    'tr',
    {},
    h(
      'th',
      { scope: 'row' },
      login === undefined ? wire(at ?? '', 'wire client') : wire(login, 'wire login'),
    ),
    ...[accepted, refused, limited, loginsFailed].map((each) => h('td', { class: 'figure' }, count(each))),
  );

const counters = (title: string, items: readonly Counter[]): HTMLElement =>
  h(
    'div',
    { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': `By ${title.toLowerCase()}, a table` },
    items.length === 0
      ? [h('h3', {}, title), empty('Nobody has sent anything yet.')]
      : h(
          'table',
          { class: 'top-senders', 'aria-label': title },
          h(
            'thead',
            {},
            h(
              'tr',
              {},
              h('th', { scope: 'col' }, title),
              ...['Accepted', 'Refused', 'Over limit', 'Logins failed'].map((each) =>
                h('th', { scope: 'col', class: 'figure' }, each),
              ),
            ),
          ),
          h('tbody', {}, ...items.map(counterRow)),
        ),
  );

const LEVELS = ['debug', 'info', 'warn', 'error'] as const;

const levelButtons = (level: string): HTMLElement =>
  h(
    'div',
    { class: 'segments acts', role: 'group', 'aria-label': 'Log level' },
    ...LEVELS.map((each) =>
      h(
        'button',
        {
          type: 'button',
          'aria-pressed': String(each === level),
          click: () =>
            void act(
              `The log now holds ${each} and above.`,
              () => send('PUT', 'log-level', { level: each }),
              [logLevel],
            ),
        },
        each,
      ),
    ),
  );

export const connections = (main: HTMLElement): (() => void) => {
  const sessions = table<model.Session>(
    'Sessions',
    'Nobody is connected at the moment.',
    ['Client', 'Since', 'At', 'Speaks', 'Step', 'Login', 'Mail', 'Last verdict'],
    ({ session }) => session,
    sessionRow,
  );
  const servers = table<model.Upstream>(
    'Mail servers',
    'No mail server is configured.',
    ['Mail server', 'State', 'Calls itself', 'Connections', 'Waiting', ACTIONS],
    ({ name }) => name,
    upstreamRow,
  );
  const top = h('div', { class: 'split' });
  const since = h('p', { class: 'lead' });
  const level = h('div');
  main.append(
    h('h1', {}, 'Connections'),
    panel('Who is connected', { class: 'wide' }, sessions.where),
    panel('Mail servers', { class: 'wide' }, servers.where),
    panel('Who sends most', { class: 'wide' }, since, top),
    panel('Log level', { class: 'wide' }, level),
  );
  const stops = [
    follow(model.sessions, sessions.where, sessions.show),
    follow(model.upstreams, servers.where, servers.show),
    follow(limits, top, ({ since: start, logins, addresses }) => {
      fill(since, 'Recipients, counted since ', clockTime(start), '.');
      fill(top, counters('Address', addresses), counters('Login', logins));
    }),
    follow(logLevel, level, (now) =>
      fill(
        level,
        h('p', { class: 'lead' }, `The log holds ${now} and above, until the next restart.`),
        levelButtons(now),
      ),
    ),
  ];
  return () => {
    for (const stop of stops) stop();
  };
};
