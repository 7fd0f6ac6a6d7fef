/** What the last hours brought: accepted, refused by reason, logins that failed. */
import { h } from './dom.js';
import { millis } from './format.js';
import * as model from './model.js';
import { panel } from './parts.js';
import { type Band, grouped, Plot } from './plot.js';

const REFUSALS: readonly (readonly [series: string, name: string, tone: string])[] = [
  ['relay', 'relaying denied', 'band-1'],
  ['rule', 'by a rule', 'band-2'],
  ['address', 'bad address or sender', 'band-3'],
  ['limit', 'over a limit', 'band-4'],
  ['server', 'by the mail server', 'band-5'],
  ['unknown', 'put off, a fact unknown', 'band-6'],
  ['connections', 'connections', 'band-7'],
];

/** Minutes shown, and minutes in a bar. */
const RANGES = [
  ['1 h', 60, 1],
  ['6 h', 360, 5],
  ['24 h', 1_440, 15],
] as const;

/** One bar more, for the first one is cut. */
const minutesOf = ([, minutes, group]: (typeof RANGES)[number]): number => Math.min(1_440, minutes + group);

export class LastHours {
  readonly element: HTMLElement;
  readonly #accepted = new Plot();
  readonly #refused = new Plot();
  readonly #logins = new Plot();
  #range: (typeof RANGES)[number] = RANGES[1];
  #history: model.History | undefined;

  constructor() {
    const buttons = RANGES.map((range) =>
      h(
        'button',
        {
          type: 'button',
          'aria-pressed': range === this.#range ? 'true' : 'false',
          click: () => {
            this.#range = range;
            model.shown.minutes = minutesOf(range);
            void model.history.refresh();
            for (const [i, each] of buttons.entries())
              each.setAttribute('aria-pressed', String(RANGES[i] === range));
            this.#draw();
          },
        },
        range[0],
      ),
    );
    const more = h('div', { class: 'segments', role: 'group', 'aria-label': 'Time shown' }, ...buttons);
    const body = h(
      'div',
      { class: 'plots' },
      this.#accepted.element,
      this.#refused.element,
      this.#logins.element,
    );
    this.element = panel('The last hours', { class: 'wide', more }, body);
  }

  show(history: model.History): void {
    this.#history = history;
    this.#draw();
  }

  #draw(): void {
    const history = this.#history;
    if (history === undefined) return;
    const [, minutes, group] = this.#range;
    const first = millis(history.from);
    const step = history.stepSeconds * 1_000;
    const bar = step * group;
    const all = Object.values(history.series)[0]?.length ?? 0;
    // Bars begin at round times: the last one may still be short.
    const end = Math.ceil((first + all * step) / bar) * bar;
    const bars = minutes / group;
    const from = end - bars * bar;
    const band = (series: string, name: string, tone: string): Band => {
      const values = history.series[series] ?? [];
      const missing = (end - first) / step - all;
      const sums = grouped([...values, ...Array<number>(missing).fill(0)], group);
      return { name, tone, values: [...Array<number>(bars).fill(0), ...sums].slice(-bars) };
    };
    const show = (plot: Plot, title: string, bands: Band[]): void =>
      plot.show({ title, from, step: bar, bands });
    show(this.#accepted, 'Recipients accepted', [band('accepted', 'accepted', 'band-0')]);
    show(
      this.#refused,
      'Refused',
      REFUSALS.map((each) => band(...each)),
    );
    show(this.#logins, 'Logins failed', [band('loginsFailed', 'failed', 'band-4')]);
  }
}
