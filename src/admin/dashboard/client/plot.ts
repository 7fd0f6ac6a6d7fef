/** Stacked bars over time as SVG: a picture for the eye, a table for whoever would rather read. */
import { fill, h, s } from './dom.js';
import { count, minuteText } from './format.js';

export interface Band {
  readonly name: string;
  /** Class of the colour: `band-…`. */
  readonly tone: string;
  readonly values: readonly number[];
}

export interface PlotData {
  readonly title: string;
  /** Start of the first value and length of each, ms. */
  readonly from: number;
  readonly step: number;
  readonly bands: readonly Band[];
}

const HEIGHT = 132;
const TOP = 8;
const BOTTOM = 22;
const LEFT = 38;
const RIGHT = 4;

/** The next round number above: 1, 2, 4, 10, 20 … */
export const niceTop = (most: number): number => {
  let unit = 1;
  while (unit * 10 < most) unit *= 10;
  // Halves of them are whole numbers, save for 1.
  return [1, 2, 4, 10].map((each) => each * unit).find((each) => each >= most) ?? unit * 10;
};

/** Sums of `group` values at a time, counted from the end. */
export const grouped = (values: readonly number[], group: number): number[] => {
  const sums: number[] = [];
  for (let end = values.length; end > 0; end -= group)
    sums.unshift(values.slice(Math.max(0, end - group), end).reduce((sum, each) => sum + each, 0));
  return sums;
};

const total = (values: readonly number[]): number => values.reduce((sum, each) => sum + each, 0);

export class Plot {
  readonly element = h('figure', { class: 'plot' });
  readonly #canvas = h('div', { class: 'plot-canvas' });
  readonly #legend = h('ul', { class: 'legend' });
  readonly #caption = h('figcaption', { class: 'plot-title' });
  readonly #tip = h('div', { class: 'plot-tip', 'aria-hidden': 'true', hidden: true });
  readonly #table = h('details', { class: 'plot-table' });
  #data: PlotData | undefined;
  #width = 0;

  constructor() {
    this.element.append(this.#caption, this.#legend, this.#canvas, this.#table);
    this.#table.addEventListener('toggle', () => this.#tabulate());
    this.#canvas.addEventListener('pointermove', (event) => this.#point(event));
    this.#canvas.addEventListener('pointerleave', () => {
      this.#tip.hidden = true;
    });
    new ResizeObserver(([entry]) => {
      const width = Math.round(entry?.contentRect.width ?? 0);
      if (width === this.#width) return;
      this.#width = width;
      this.#draw();
    }).observe(this.#canvas);
  }

  show(data: PlotData): void {
    this.#data = data;
    this.#draw();
    this.#tabulate();
  }

  get #sums(): number[] {
    const bands = this.#data?.bands ?? [];
    return (bands[0]?.values ?? []).map((_, i) =>
      bands.reduce((sum, { values }) => sum + (values[i] ?? 0), 0),
    );
  }

  #draw(): void {
    const data = this.#data;
    if (data === undefined || this.#width < 60) return;
    const sums = this.#sums;
    const top = niceTop(Math.max(1, ...sums));
    const width = this.#width - LEFT - RIGHT;
    const height = HEIGHT - TOP - BOTTOM;
    const y = (value: number): number => TOP + height - (value / top) * height;
    const slot = width / Math.max(1, sums.length);
    const bar = Math.max(1, slot - Math.min(2, slot * 0.25));
    fill(this.#caption, data.title, h('span', { class: 'plot-sum' }, count(total(sums))));
    fill(
      this.#legend,
      ...data.bands
        .filter(({ values }) => data.bands.length > 1 && total(values) > 0)
        .map(({ name, tone, values }) =>
          h('li', {}, h('i', { class: `swatch ${tone}` }), `${name} `, h('b', {}, count(total(values)))),
        ),
    );
    const lines = (top === 1 ? [0, 1] : [0, top / 2, top]).map((value) => [
      s('line', { class: 'grid', x1: LEFT, x2: LEFT + width, y1: y(value), y2: y(value) }),
      s('text', { class: 'tick', x: LEFT - 6, y: y(value) + 4, 'text-anchor': 'end' }, short(value)),
    ]);
    const bars = data.bands.map(({ tone, values }, index) =>
      values.map((value, i) => {
        if (value === 0) return undefined;
        const below = data.bands.slice(0, index).reduce((sum, band) => sum + (band.values[i] ?? 0), 0);
        const high = Math.max(1, y(below) - y(below + value));
        const place = { x: LEFT + i * slot, y: y(below) - high, width: bar, height: high };
        return s('rect', { class: tone, ...place, rx: Math.min(1.5, bar / 3) });
      }),
    );
    const label = `${data.title}: ${count(total(sums))} from ${minuteText(data.from)} on. ${data.bands
      .filter(({ values }) => total(values) > 0)
      .map(({ name, values }) => `${name}: ${count(total(values))}`)
      .join(', ')}`;
    const box = { viewBox: `0 0 ${this.#width} ${HEIGHT}`, width: this.#width, height: HEIGHT };
    fill(
      this.#canvas,
      s('svg', { ...box, role: 'img', 'aria-label': label }, lines, bars, this.#hours(data, slot, width)),
      total(sums) === 0 && h('p', { class: 'plot-empty' }, 'Nothing in this time'),
      this.#tip,
    );
  }

  /** Marks at round times, not closer than 70 pixels. */
  #hours({ from, step }: PlotData, slot: number, width: number): SVGElement[] {
    const perPixel = step / slot;
    const every = [5, 10, 15, 30, 60, 120, 180, 240, 360]
      .map((each) => each * 60_000)
      .find((each) => each / perPixel >= 70);
    if (every === undefined) return [];
    const marks: SVGElement[] = [];
    const zone = new Date(from).getTimezoneOffset() * 60_000;
    for (
      let at = Math.ceil((from - zone) / every) * every + zone;
      at < from + width * perPixel;
      at += every
    ) {
      const x = LEFT + (at - from) / perPixel;
      if (x > LEFT + width - 16) break;
      marks.push(s('text', { class: 'tick', x, y: HEIGHT - 6, 'text-anchor': 'middle' }, minuteText(at)));
    }
    return marks;
  }

  #point(event: PointerEvent): void {
    const data = this.#data;
    if (data === undefined) return;
    const sums = this.#sums;
    const x = event.clientX - this.#canvas.getBoundingClientRect().left;
    const slot = (this.#width - LEFT - RIGHT) / Math.max(1, sums.length);
    const at = Math.floor((x - LEFT) / slot);
    const inside = at >= 0 && at < sums.length;
    this.#tip.hidden = !inside;
    if (!inside) return;
    const start = data.from + at * data.step;
    const parts = data.bands.filter(({ values }) => (values[at] ?? 0) > 0);
    fill(
      this.#tip,
      h('b', {}, `${minuteText(start)}–${minuteText(start + data.step)}`),
      ...(parts.length === 0 ? [h('span', {}, 'nothing')] : []),
      ...parts.map(({ name, tone, values }) =>
        h('span', {}, h('i', { class: `swatch ${tone}` }), `${name} `, h('b', {}, count(values[at] ?? 0))),
      ),
    );
    const right = x > this.#width / 2;
    this.#tip.style.left = right ? '' : `${x + 12}px`;
    this.#tip.style.right = right ? `${this.#width - x + 12}px` : '';
  }

  /** The rows that are not empty, when somebody has opened it. */
  #tabulate(): void {
    const data = this.#data;
    if (data === undefined) return;
    const summary = this.#table.querySelector('summary') ?? h('summary', {}, 'as a table');
    if (!this.#table.open) return fill(this.#table, summary);
    const bands = data.bands.filter(({ values }) => total(values) > 0);
    const rows = this.#sums
      .map((sum, i) => ({ sum, i }))
      .filter(({ sum }) => sum > 0)
      .reverse();
    fill(
      this.#table,
      summary,
      rows.length === 0
        ? h('p', { class: 'quiet' }, 'Nothing in this time')
        : h(
            'div',
            { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': data.title },
            h(
              'table',
              {},
              h(
                'thead',
                {},
                h(
                  'tr',
                  {},
                  h('th', { scope: 'col' }, 'From'),
                  bands.map(({ name }) => h('th', { scope: 'col' }, name)),
                ),
              ),
              h(
                'tbody',
                {},
                rows.map(({ i }) =>
                  h(
                    'tr',
                    {},
                    h('th', { scope: 'row' }, minuteText(data.from + i * data.step)),
                    bands.map(({ values }) => h('td', {}, count(values[i] ?? 0))),
                  ),
                ),
              ),
            ),
          ),
    );
  }
}

const short = (value: number): string =>
  value >= 1_000_000 ? `${value / 1_000_000}M` : value >= 10_000 ? `${value / 1_000}k` : String(value);
