/** The page: its frame, its views by the address behind `#`, the live line, and what to say when something is amiss. */
import { get, hasToken, setToken, whenTokenNeeded } from './api.js';
import { connections } from './connections.js';
import { decisions } from './decisions.js';
import { byId, fill, h } from './dom.js';
import { clockText, startClock } from './format.js';
import { type IconName, icon } from './icons.js';
import { logins } from './logins.js';
import * as model from './model.js';
import { overview } from './overview.js';
import { button, field, form, toast } from './parts.js';
import { policy } from './policy.js';
import { refreshAll, startPolling } from './slice.js';
import { Line, type LineState, type Message } from './stream.js';
import { why } from './why.js';

type View = (main: HTMLElement, query: URLSearchParams) => () => void;

const VIEWS: Readonly<Record<string, { readonly title: string; readonly show: View }>> = {
  '': { title: 'Overview', show: overview },
  decisions: { title: 'Decisions', show: decisions },
  why: { title: 'Why?', show: why },
  policy: { title: 'Policy', show: policy },
  logins: { title: 'Logins', show: logins },
  connections: { title: 'Connections', show: connections },
};

let leave: () => void = () => undefined;

const route = (first = false): void => {
  const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const view = VIEWS[path] ?? VIEWS[''];
  if (view === undefined) return;
  leave();
  const main = byId('main');
  main.replaceChildren();
  document.title = view.title === 'Overview' ? 'Sekisho' : `${view.title} · Sekisho`;
  for (const link of document.querySelectorAll('nav a')) {
    const here = link.getAttribute('href') === `#/${VIEWS[path] === undefined ? '' : path}`;
    if (here) {
      link.setAttribute('aria-current', 'page');
      link.scrollIntoView({ inline: 'center', block: 'nearest' });
    } else link.removeAttribute('aria-current');
  }
  leave = view.show(main, new URLSearchParams(query));
  if (first) return;
  scrollTo(0, 0);
  main.focus({ preventScroll: true });
};

/* The theme: the system's, or one that was chosen. */

const THEMES = ['auto', 'light', 'dark'] as const;
const THEME_ICONS: Readonly<Record<(typeof THEMES)[number], IconName>> = {
  auto: 'auto',
  light: 'sun',
  dark: 'moon',
};

const themeNow = (): (typeof THEMES)[number] =>
  THEMES.find((each) => each === document.documentElement.dataset.theme) ?? 'auto';

const setTheme = (theme: (typeof THEMES)[number]): void => {
  const { dataset } = document.documentElement;
  if (theme === 'auto') delete dataset.theme;
  else dataset.theme = theme;
  try {
    localStorage.setItem('sekisho-theme', theme);
  } catch {
    // No storage: until the page is left.
  }
};

const themeButton = (): void => {
  const element = byId('theme');
  const draw = (): void => {
    const theme = themeNow();
    fill(element, icon(THEME_ICONS[theme]));
    element.setAttribute('aria-label', `Theme: ${theme === 'auto' ? "the system's" : theme}. Change`);
    element.title = `Theme: ${theme === 'auto' ? "the system's" : theme}`;
  };
  element.addEventListener('click', () => {
    setTheme(THEMES[(THEMES.indexOf(themeNow()) + 1) % THEMES.length] ?? 'auto');
    draw();
  });
  draw();
};

/* The live line and the banner. */

const WORDS: Readonly<Record<LineState, string>> = {
  connecting: 'Connecting',
  open: 'Live',
  lost: 'Connection lost',
  token: 'No token',
};

let lostSince = 0;

const banner = (line: Line): void => {
  const element = byId('banner');
  if (line.state === 'lost' || (line.state === 'connecting' && lostSince > 0)) {
    lostSince ||= Date.now();
    const wait = Math.max(0, Math.ceil((line.retryAt - Date.now()) / 1_000));
    const next = line.state === 'connecting' || wait === 0 ? 'Trying again …' : `Trying again in ${wait} s.`;
    const said = element.querySelector('.banner-next');
    if (said !== null) {
      said.textContent = next;
      return;
    }
    fill(
      element,
      icon('warn'),
      h('span', {}, `Connection lost. What you see is as of ${clockText(lostSince)}. `),
      // Not read out each second.
      h('span', { class: 'banner-next', 'aria-live': 'off' }, next),
      button('retry', 'Try now', () => line.connect()),
    );
    element.hidden = false;
  } else if (line.state !== 'connecting') {
    if (lostSince > 0 && line.state === 'open') {
      toast('Connected again.');
      refreshAll();
    }
    lostSince = 0;
    element.hidden = true;
    element.replaceChildren();
  }
};

const showLine = (line: Line): void => {
  const { state } = line;
  const element = byId('line');
  if (element.dataset.state !== state) {
    element.dataset.state = state;
    element.textContent = WORDS[state];
  }
  document.body.classList.toggle('stale', state === 'lost');
  banner(line);
};

const hear = ({ event, data }: Message): void => {
  const body: unknown = JSON.parse(data);
  if (event === 'decision') model.recent.add(body as model.Decision);
  else if (event === 'reply') model.recent.reply(body as model.Reply & { id: number });
  else if (event === 'missed') model.recent.missed += (body as { count: number }).count;
};

/** Those of before, as soon as the line is open: nothing falls between. */
const catchUp = async (): Promise<void> => {
  model.recent.begin();
  try {
    const { decisions: before } = await get<{ decisions: model.Decision[] }>(`decisions?limit=${model.KEPT}`);
    model.recent.before(before);
  } catch {
    // The line says what is wrong.
  }
};

/* The token. */

const askToken = (line: Line) => {
  let open = false;
  return (wrong: boolean): void => {
    if (open) return;
    open = true;
    if (wrong) setToken(undefined);
    const dialog = h('dialog', { 'aria-labelledby': 'token-title' });
    const ask = form(
      'Token',
      'token',
      ({ token }) => {
        if (token === undefined) return;
        setToken(token);
        dialog.close();
        line.connect();
        refreshAll();
        signOutButton();
      },
      h('h2', { id: 'token-title' }, wrong ? 'That token is not known' : 'A token is needed'),
      h(
        'p',
        {},
        'This endpoint shows itself only to those who have a token from the file that admin.tokens names. It is kept in this tab until you close it.',
      ),
      field('Token', 'token', { type: 'password', required: true, autocomplete: 'off' }),
      h('div', { class: 'buttons' }, h('button', { type: 'submit', class: 'primary' }, 'Go on')),
    );
    dialog.append(ask);
    dialog.addEventListener('close', () => {
      open = false;
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  };
};

const signOutButton = (): void => {
  const element = byId('sign-out');
  element.hidden = !hasToken();
  element.onclick = () => {
    setToken(undefined);
    location.reload();
  };
};

const start = (): void => {
  const line = new Line('decisions/stream', hear, (state) => {
    showLine(line);
    if (state === 'open') void catchUp();
  });
  whenTokenNeeded(askToken(line));
  themeButton();
  signOutButton();
  byId('skip').addEventListener('click', (event) => {
    event.preventDefault();
    byId('main').focus();
  });
  model.status.listen(() => {
    const { value } = model.status;
    byId('observing').hidden = value?.policy.observe !== true;
    const reads = value?.you.role === 'read';
    byId('read-only').hidden = !reads;
    document.body.classList.toggle('reads', reads);
  });
  addEventListener('hashchange', () => route());
  setInterval(() => showLine(line), 1_000);
  startClock();
  startPolling();
  line.connect();
  route(true);
};

start();
