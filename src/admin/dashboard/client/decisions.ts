/** The last thousand decisions, live, as far as they pass the filter. */
import { decisionRow, disagrees } from './decision-row.js';
import { fill, h, KeyedList } from './dom.js';
import { count } from './format.js';
import { icon } from './icons.js';
import * as model from './model.js';
import { choice, empty, field, panel, valuesOf } from './parts.js';

/** Rows drawn at once; the filter looks at all. */
const DRAWN = 200;

const SHOW = [
  ['all', 'all'],
  ['allow', 'allowed'],
  ['deny', 'refused'],
  ['defer', 'deferred'],
  ['shadow', 'shadow rules disagree'],
] as const;

const passes = (decision: model.Decision, show: string, text: string): boolean => {
  if (show === 'shadow' ? !disagrees(decision) : show !== 'all' && decision.verdict !== show) return false;
  if (text === '') return true;
  const { from, to, client, clientName, helo, login, rule, reply } = decision;
  return [from, to, client, clientName, helo, login, rule, reply?.reply].some((each) =>
    each?.toLowerCase().includes(text),
  );
};

export const decisions = (main: HTMLElement, query: URLSearchParams): (() => void) => {
  const list = h('ol', { class: 'decisions', reversed: true });
  const keyed = new KeyedList<model.Decision>(list, ({ id }) => String(id), decisionRow);
  const body = h('div');
  const said = h('p', { class: 'quiet', role: 'status' });
  let held: readonly model.Decision[] | undefined;
  const pause = h('button', { type: 'button', 'aria-pressed': 'false', click: () => toggle() });
  const filter = h(
    'form',
    {
      class: 'filter',
      role: 'search',
      'aria-label': 'Filter decisions',
      input: () => draw(),
      submit: (event) => event.preventDefault(),
    },
    field('Find', 'text', { type: 'search', placeholder: 'address, client, login, rule …' }),
    choice('Show', 'show', SHOW),
    pause,
  );
  const select = filter.querySelector('select');
  const wanted = query.get('show');
  if (select !== null && SHOW.some(([value]) => value === wanted)) select.value = wanted ?? 'all';

  const draw = (): void => {
    const { show = 'all', text = '' } = valuesOf(filter);
    const all = held ?? model.recent.all;
    const found = all.filter((each) => passes(each, show, text.toLowerCase()));
    keyed.show(found.slice(0, DRAWN));
    const drawn = found.length > DRAWN ? `, the newest ${DRAWN} shown` : '';
    const missed =
      model.recent.missed > 0 ? `; ${count(model.recent.missed)} more came too fast to be shown` : '';
    said.textContent = `${count(found.length)} of the last ${count(all.length)}${drawn}${missed}`;
    const none =
      all.length === 0
        ? empty('No mail has been judged since Sekisho started.', 'What comes appears here by itself.')
        : empty('None of them passes the filter.');
    const child = found.length === 0 ? none : list;
    if (body.firstChild !== child) fill(body, child);
  };
  const toggle = (): void => {
    held = held === undefined ? [...model.recent.all] : undefined;
    pause.setAttribute('aria-pressed', String(held !== undefined));
    fill(pause, icon(held === undefined ? 'pause' : 'play'), held === undefined ? 'Pause' : 'Go on');
    draw();
  };
  fill(pause, icon('pause'), 'Pause');
  main.append(
    h('h1', {}, 'Decisions'),
    panel('What was decided', { class: 'wide bare' }, filter, said, body),
  );
  return model.recent.listen(() => {
    if (held === undefined) draw();
  });
};
