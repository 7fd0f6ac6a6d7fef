/** Elements made by hand. Whatever comes from the wire gets in as a text node; nothing here reads HTML. */

export type Child = Node | string | number | undefined | null | false | readonly Child[];

export interface Attributes {
  readonly [name: string]: string | number | boolean | undefined | ((event: Event) => void);
}

const SVG = 'http://www.w3.org/2000/svg';

const setAll = (element: Element, attributes: Attributes): void => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
};

export const append = (parent: Element, children: readonly Child[]): void => {
  for (const child of children) {
    if (child === undefined || child === null || child === false) continue;
    if (Array.isArray(child)) append(parent, child as readonly Child[]);
    else parent.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
};

/** An element with attributes, listeners (functions, by the event's name) and children. */
export const h = <K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] => {
  const element = document.createElement(tag);
  setAll(element, attributes);
  append(element, children);
  return element;
};

/** The same for SVG. */
export const s = (tag: string, attributes: Attributes = {}, ...children: readonly Child[]): SVGElement => {
  const element = document.createElementNS(SVG, tag);
  setAll(element, attributes);
  append(element, children);
  return element as SVGElement;
};

export const fill = (parent: Element, ...children: readonly Child[]): void => {
  parent.replaceChildren();
  append(parent, children);
};

/** An element of the page that has to be there. */
export const byId = (id: string): HTMLElement => {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no #${id}`);
  return element;
};

/**
 * Text as it can be shown: what is invisible, turns the direction of writing or ends a line is spelt out, so that
 * nothing can look like what it is not.
 */
export const visible = (text: string): string =>
  text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
  });

/** Text from the wire, set apart from what surrounds it. */
export const wire = (text: string, className = 'wire'): HTMLElement =>
  h('bdi', { class: className, title: text.length > 40 ? visible(text) : undefined }, visible(text));

/** An envelope address; the null sender has a sign of its own. */
export const address = (text: string): HTMLElement => wire(text === '' ? '<>' : text, 'wire address');

interface Row {
  readonly element: HTMLElement;
  readonly signature: string;
}

/** A list whose rows stay the same elements as long as what they show stays the same: focus and selection survive. */
export class KeyedList<T> {
  #rows = new Map<string, Row>();

  constructor(
    readonly parent: HTMLElement,
    private readonly keyOf: (item: T) => string,
    private readonly render: (item: T) => HTMLElement,
  ) {}

  show(items: readonly T[]): void {
    const rows = new Map<string, Row>();
    let before: ChildNode | null = this.parent.firstChild;
    for (const item of items) {
      const key = this.keyOf(item);
      const signature = JSON.stringify(item);
      const old = this.#rows.get(key);
      const row = old?.signature === signature ? old : { element: this.render(item), signature };
      if (old !== undefined && old !== row) {
        if (before === old.element) before = old.element.nextSibling;
        this.#replace(old.element, row.element);
      }
      if (before === row.element) before = before.nextSibling;
      else this.parent.insertBefore(row.element, before);
      rows.set(key, row);
    }
    for (const [key, { element }] of this.#rows) if (!rows.has(key)) element.remove();
    this.#rows = rows;
  }

  /** The focus goes to the same place in the new row. */
  #replace(old: HTMLElement, row: HTMLElement): void {
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const name = focused?.getAttribute('data-action');
    old.replaceWith(row);
    if (focused === null) return;
    const next = name === null ? row : row.querySelector(`[data-action="${name}"]`);
    if (next instanceof HTMLElement) next.focus();
  }
}
