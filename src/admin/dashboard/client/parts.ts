/** What several views are made of: verdicts, empty and failed states, actions with their outcome. */
import { type Failure, failureOf } from './api.js';
import { append, byId, type Child, fill, h, wire } from './dom.js';
import { type IconName, icon } from './icons.js';
import type { Decision, Verdict } from './model.js';
import type { Slice } from './slice.js';

const VERDICTS: Readonly<Record<Verdict, { readonly word: string; readonly icon: IconName }>> = {
  allow: { word: 'allowed', icon: 'check' },
  deny: { word: 'refused', icon: 'cross' },
  defer: { word: 'deferred', icon: 'clock' },
};

export const verdictWord = (verdict: Verdict): string => VERDICTS[verdict].word;

export const badge = (verdict: Verdict, word = VERDICTS[verdict].word): HTMLElement =>
  h('span', { class: `badge ${verdict}` }, icon(VERDICTS[verdict].icon), word);

/** Who or what decided, in words. */
export const reasonOf = ({ reason, rule, reply }: Decision): readonly Child[] => {
  switch (reason) {
    case 'rule':
      return ['rule ', h('b', {}, rule)];
    case 'no-rule':
      return ['no rule allows it'];
    case 'unknown-fact':
      return ['a fact is not known, rule ', h('b', {}, rule)];
    case 'sender':
      return ['the sender was refused: ', wire(reply?.reply ?? '')];
    case 'recipient':
      return ['refused before any rule: ', wire(reply?.reply ?? '')];
    default:
      return [reason];
  }
};

/** A part of a view with its heading. */
export const panel = (
  title: string,
  options: { readonly class?: string; readonly more?: Child; readonly level?: 2 | 3 },
  ...children: readonly Child[]
): HTMLElement => {
  const id = `panel-${title.toLowerCase().replace(/[^a-z]+/g, '-')}`;
  return h(
    'section',
    { class: `panel ${options.class ?? ''}`, 'aria-labelledby': id },
    h('header', { class: 'panel-head' }, h(options.level === 3 ? 'h3' : 'h2', { id }, title), options.more),
    ...children,
  );
};

export const empty = (text: string, hint?: Child): HTMLElement =>
  h('p', { class: 'empty' }, text, hint !== undefined && h('span', { class: 'hint' }, hint));

export const loading = (): HTMLElement => h('p', { class: 'empty loading' }, 'Loading …');

export const failed = ({ kind, text, faults }: Failure): HTMLElement => {
  const words: Readonly<Record<Failure['kind'], string>> = {
    lost: 'Sekisho does not answer. Trying again …',
    token: 'A token is needed to see this.',
    role: text,
    refused: text,
    busy: text,
  };
  const list =
    faults.length > 0 && h('ul', { class: 'faults' }, ...faults.map((each) => h('li', {}, wire(each))));
  return h('div', { class: 'fault', role: 'alert' }, h('p', {}, icon('warn'), words[kind]), list);
};

/**
 * Shows a slice in `where` by `draw`: loading until something is there, the failure where nothing ever was; what is
 * there stays when later looks fail (the banner says so). Returns how to stop.
 */
export const follow = <T>(slice: Slice<T>, where: HTMLElement, draw: (value: T) => void): (() => void) => {
  if (slice.value === undefined) fill(where, loading());
  let drawn = false;
  return slice.listen(() => {
    if (slice.value !== undefined) {
      if (!drawn) where.replaceChildren();
      drawn = true;
      draw(slice.value);
    } else if (slice.failure !== undefined) fill(where, failed(slice.failure));
  });
};

/** A short word about what was done, seen and heard. */
export const toast = (text: string, tone: 'good' | 'bad' = 'good'): void => {
  const element = h('p', { class: `toast ${tone}` }, icon(tone === 'good' ? 'check' : 'warn'), text);
  byId('toasts').append(element);
  setTimeout(() => element.remove(), tone === 'good' ? 5_000 : 10_000);
};

/** Does something, says what came of it, and brings fresh what may have changed. True if it was done. */
export const act = async (
  done: string,
  work: () => Promise<unknown>,
  changed: readonly Slice<never>[] | readonly { refresh(): Promise<void> }[] = [],
): Promise<boolean> => {
  try {
    await work();
    toast(done);
    return true;
  } catch (error) {
    const { kind, text, faults } = failureOf(error);
    if (kind !== 'token') toast([text, ...faults].join('\n'), 'bad');
    return false;
  } finally {
    for (const slice of changed) void slice.refresh();
  }
};

/** A button that is dead while its work is being done. `name` tells it from others in its row. */
export const button = (
  name: string,
  label: Child,
  work: () => unknown,
  options: { readonly class?: string; readonly label?: string; readonly type?: 'submit' } = {},
): HTMLButtonElement => {
  const element = h(
    'button',
    {
      type: options.type ?? 'button',
      class: options.class,
      'data-action': name,
      'aria-label': options.label,
      click: async () => {
        if (options.type === 'submit') return;
        element.disabled = true;
        try {
          await work();
        } finally {
          element.disabled = false;
        }
      },
    },
    label,
  );
  return element;
};

/** Asks before something that mail will feel. */
export const confirm = (title: string, text: Child, yes: string): Promise<boolean> =>
  new Promise((resolve) => {
    const dialog = h('dialog', { 'aria-labelledby': 'confirm-title' });
    let answer = false;
    const close = (value: boolean) => (): void => {
      answer = value;
      dialog.close();
    };
    append(dialog, [
      h('h2', { id: 'confirm-title' }, title),
      h('p', {}, text),
      h(
        'div',
        { class: 'buttons' },
        button('no', 'Cancel', close(false)),
        button('yes', yes, close(true), { class: 'primary' }),
      ),
    ]);
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
  });

let fields = 0;

/** A labelled field. */
export const field = (
  label: string,
  name: string,
  attributes: Readonly<Record<string, string | boolean | undefined>> = {},
  hint?: string,
): HTMLElement => {
  fields += 1;
  const id = `field-${fields}`;
  const described = hint === undefined ? undefined : `${id}-hint`;
  return h(
    'div',
    { class: 'field' },
    h('label', { for: id }, label),
    h('input', {
      id,
      name,
      autocomplete: 'off',
      spellcheck: 'false',
      'aria-describedby': described,
      ...attributes,
    }),
    hint !== undefined && h('small', { id: described ?? '' }, hint),
  );
};

export const choice = (
  label: string,
  name: string,
  options: readonly (readonly [value: string, word: string])[],
): HTMLElement => {
  fields += 1;
  const id = `field-${fields}`;
  return h(
    'div',
    { class: 'field' },
    h('label', { for: id }, label),
    h('select', { id, name }, ...options.map(([value, word]) => h('option', { value }, word))),
  );
};

/** What a form holds, empty fields left out. */
export const valuesOf = (form: HTMLFormElement): Record<string, string> =>
  Object.fromEntries(
    [...new FormData(form)].flatMap(([name, value]) =>
      typeof value === 'string' && value.trim() !== '' ? [[name, value.trim()]] : [],
    ),
  );

/** A form that is never sent by the browser itself. */
export const form = (
  label: string,
  className: string,
  submit: (values: Record<string, string>, element: HTMLFormElement) => unknown,
  ...children: readonly Child[]
): HTMLFormElement => {
  const element: HTMLFormElement = h(
    'form',
    {
      class: className,
      'aria-label': label,
      submit: async (event) => {
        event.preventDefault();
        const send = element.querySelector<HTMLButtonElement>('button[type=submit]');
        if (send !== null) send.disabled = true;
        try {
          await submit(valuesOf(element), element);
        } finally {
          if (send !== null) send.disabled = false;
        }
      },
    },
    ...children,
  );
  return element;
};
