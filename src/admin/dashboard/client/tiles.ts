/** The four questions that the first look answers. */
import { type Child, h, wire } from './dom.js';
import { count, movingTime, plural } from './format.js';
import { type IconName, icon } from './icons.js';
import type * as model from './model.js';

type Tone = 'good' | 'fair' | 'bad' | 'none';

const ICONS: Readonly<Record<Tone, IconName>> = { good: 'check', fair: 'warn', bad: 'cross', none: 'clock' };

interface Answer {
  readonly tone: Tone;
  readonly word: string;
  readonly text: Child;
}

export class Tile {
  readonly element: HTMLElement;
  readonly #body = h('div', { class: 'tile-body' });
  #shown = '';

  constructor(question: string, href: string) {
    this.element = h(
      'a',
      { class: 'tile none', href },
      h('h2', { class: 'tile-question' }, question),
      this.#body,
    );
    this.show({ tone: 'none', word: 'Looking …', text: '' });
  }

  show({ tone, word, text }: Answer): void {
    const body = h(
      'div',
      { class: 'tile-body' },
      h('p', { class: 'tile-word' }, h('span', { class: 'tile-icon' }, icon(ICONS[tone])), word),
      h('p', { class: 'tile-text' }, text),
    );
    // A live region repeats whatever is put into it: only what is new goes in.
    const shown = `${tone} ${word} ${body.textContent}`;
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.element.className = `tile ${tone}`;
    this.#body.replaceChildren(...body.childNodes);
  }
}

export const relayAnswer = ({ forms, open, undecided }: model.SelfTest, observe: boolean): Answer => {
  if (observe)
    return { tone: 'bad', word: 'Only observing', text: 'Everything passes, whatever the policy says.' };
  if (open.length > 0)
    return {
      tone: 'bad',
      word: `${plural(open.length, 'form')} open`,
      text: `of ${count(forms)} forms of relaying, tried as a stranger`,
    };
  if (forms === 0) return { tone: 'none', word: 'Not tried yet', text: 'The self-test has not run.' };
  const put = undecided > 0 ? `, ${count(undecided)} of them put off` : '';
  return { tone: 'good', word: 'Closed', text: `${count(forms)} forms of relaying tried, none passes${put}` };
};

export const serverAnswer = (upstreams: readonly model.Upstream[]): Answer => {
  const well = upstreams.filter(({ up, draining }) => up === true && !draining);
  const down = upstreams.find(({ up }) => up === false);
  const first = well[0] ?? upstreams[0];
  const busy = upstreams.reduce((sum, each) => sum + each.busy, 0);
  const who = first === undefined ? '' : (first.hostname ?? first.name);
  if (well.length === upstreams.length && upstreams.length > 0)
    return {
      tone: 'good',
      word: 'Well',
      text: [wire(who), busy === 0 ? ', idle' : `, ${plural(busy, 'connection')} at work`],
    };
  if (well.length > 0)
    return {
      tone: 'fair',
      word: `${well.length} of ${upstreams.length} at work`,
      text: [wire(down?.name ?? ''), ' ', down?.reason ?? 'is drained'],
    };
  if (upstreams.some(({ draining }) => draining))
    return { tone: 'fair', word: 'Drained', text: 'Taken out of service by hand: mail is deferred.' };
  if (upstreams.every(({ up }) => up === undefined)) return { tone: 'none', word: 'Not tried yet', text: '' };
  return { tone: 'bad', word: 'Down', text: ['Mail is deferred. ', wire(down?.reason ?? '')] };
};

export const policyAnswer = ({ policy }: model.Status): Answer => {
  if (policy.lastReload?.ok === false)
    return {
      tone: 'fair',
      word: 'Reload failed',
      text: ['The old one stays in force. ', wire(policy.lastReload.faults[0] ?? '')],
    };
  const text = [`${plural(policy.rules, 'rule')}, since `, movingTime('ago', policy.since)];
  return policy.observe ? { tone: 'fair', word: 'Observed', text } : { tone: 'good', word: 'In force', text };
};

export const selfAnswer = ({ store, version, started }: model.Status): Answer =>
  store.ok
    ? { tone: 'good', word: 'Well', text: [`version ${version}, up `, movingTime('for', started)] }
    : {
        tone: 'bad',
        word: 'No state store',
        text: [wire(store.name), ' does not answer: windows and limits are unknown'],
      };
