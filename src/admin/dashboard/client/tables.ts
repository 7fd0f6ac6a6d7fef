/** Tables whose rows stay the same elements while what they show stays the same. */
import { type Child, fill, h, KeyedList } from './dom.js';
import { empty } from './parts.js';

export interface Table<T> {
  /** Holds the table, or what is said where there are no rows. */
  readonly where: HTMLElement;
  show(items: readonly T[]): void;
}

/** The last column has no heading to be seen: there stand the actions. */
export const ACTIONS: Child = h('span', { class: 'unseen' }, 'Actions');

export const table = <T>(
  label: string,
  none: string,
  heads: readonly Child[],
  keyOf: (item: T) => string,
  row: (item: T) => HTMLElement,
): Table<T> => {
  const body = h('tbody');
  const keyed = new KeyedList<T>(body, keyOf, row);
  const head = heads.map((each) =>
    h('th', { scope: 'col' }, each instanceof Node ? each.cloneNode(true) : each),
  );
  const element = h(
    'div',
    { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': `${label}, a table` },
    h('table', { class: 'cards' }, h('thead', {}, h('tr', {}, head)), body),
  );
  const where = h('div');
  return {
    where,
    show: (items) => {
      keyed.show(items);
      const child = items.length === 0 ? empty(none) : element;
      if (where.firstChild !== child) fill(where, child);
    },
  };
};

/** A cell that says by itself what it is where the table is shown as cards. */
export const cell = (label: string, ...children: readonly Child[]): HTMLElement =>
  h('td', { 'data-label': label }, ...children);
