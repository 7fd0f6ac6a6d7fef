/** Who may send from outside for a while, and who may not. */
import { send } from './api.js';
import { h, wire } from './dom.js';
import { count, ends, movingTime } from './format.js';
import * as model from './model.js';
import { act, button, confirm, field, follow, form, panel } from './parts.js';
import { ACTIONS, cell, table } from './tables.js';

const closeWindow = ({ login, address }: model.Window): Promise<boolean> =>
  act(
    `Closed the window of ${login} at ${address}.`,
    () => send('DELETE', `windows?${new URLSearchParams({ login, address })}`),
    [model.windows],
  );

const windowRow = (window: model.Window): HTMLElement => {
  const { login, address, source, since, until, used, budget } = window;
  return h(
    'tr',
    {},
    h('th', { scope: 'row' }, wire(login, 'wire login')),
    cell('At', wire(address, 'wire client')),
    cell('By', source),
    cell('Since', movingTime('ago', since)),
    cell('Ends', ends(until)),
    cell('Sent', `${count(used)}${budget > 0 ? ` of ${count(budget)}` : ''}`),
    h(
      'td',
      { class: 'actions acts' },
      button('close', 'Close', () => closeWindow(window), {
        label: `Close the window of ${login} at ${address}`,
      }),
    ),
  );
};

const lift = ({ login }: model.Suspended): Promise<boolean> =>
  act(`${login} may be used again.`, () => send('DELETE', `logins/suspended/${encodeURIComponent(login)}`), [
    model.suspended,
  ]);

const suspendedRow = (entry: model.Suspended): HTMLElement => {
  const { login, until, why } = entry;
  return h(
    'tr',
    {},
    h('th', { scope: 'row' }, wire(login, 'wire login')),
    cell('Until', ends(until, 'it is lifted')),
    cell('Why', wire(why)),
    h(
      'td',
      { class: 'actions acts' },
      button('lift', 'Lift', () => lift(entry), { label: `Lift the suspension of ${login}` }),
    ),
  );
};

const openForm = (): HTMLElement =>
  form(
    'Open a window',
    'inline acts',
    async ({ login = '', address = '' }, element) => {
      const done = await act(
        `Opened a window for ${login} at ${address}.`,
        () => send('POST', 'windows', { login, address }),
        [model.windows],
      );
      if (done) element.reset();
    },
    field('Login', 'login', { required: true, placeholder: 'hoge@example.org' }),
    field('At the address', 'address', { required: true, placeholder: '198.51.100.7' }),
    h('button', { type: 'submit' }, 'Open a window'),
  );

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };

/** `24h` in seconds; the field lets nothing else pass. */
const secondsOf = (text: string): number => Number(text.slice(0, -1)) * (UNITS[text.slice(-1)] ?? 1);

const suspendForm = (): HTMLElement =>
  form(
    'Suspend a login',
    'inline acts',
    async ({ login = '', why = 'by hand', for: length }, element) => {
      const sure = await confirm(
        `Suspend ${login}?`,
        'It gets 535 at once, its windows close, and its open sessions relay no longer.',
        'Suspend',
      );
      if (!sure) return;
      const body = { login, why, ...(length === undefined ? {} : { seconds: secondsOf(length) }) };
      const done = await act(`${login} is suspended.`, () => send('POST', 'logins/suspended', body), [
        model.suspended,
        model.windows,
      ]);
      if (done) element.reset();
    },
    field('Login', 'login', { required: true, placeholder: 'as the log writes it' }),
    field('For', 'for', {
      placeholder: 'until lifted',
      pattern: '[0-9]+[smhd]',
      title: 'a time such as 30m, 24h or 7d',
    }),
    field('Why', 'why', { placeholder: 'by hand' }),
    h('button', { type: 'submit' }, 'Suspend'),
  );

export const logins = (main: HTMLElement): (() => void) => {
  const windows = table<model.Window>(
    'Open windows',
    'No window is open.',
    ['Login', 'At', 'By', 'Since', 'Ends', 'Sent', ACTIONS],
    (each) => `${each.login} ${each.address}`,
    windowRow,
  );
  const suspended = table<model.Suspended>(
    'Suspended logins',
    'No login is suspended.',
    ['Login', 'Until', 'Why', ACTIONS],
    ({ login }) => login,
    suspendedRow,
  );
  main.append(
    h('h1', {}, 'Logins'),
    panel(
      'Open windows',
      { class: 'wide' },
      h(
        'p',
        { class: 'lead' },
        'A window lets a login send from an address for a while, since it was proven there.',
      ),
      windows.where,
      openForm(),
    ),
    panel('Suspended logins', { class: 'wide' }, suspended.where, suspendForm()),
  );
  const stops = [
    follow(model.windows, windows.where, windows.show),
    follow(model.suspended, suspended.where, suspended.show),
  ];
  return () => {
    for (const stop of stops) stop();
  };
};
