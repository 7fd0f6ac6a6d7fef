/** Why? A client, a sender and a recipient, and what each rule makes of them. */
import { failureOf, send } from './api.js';
import { type Child, fill, h, visible } from './dom.js';
import { count, ends, span } from './format.js';
import { type IconName, icon } from './icons.js';
import type { Explanation, Question, RuleReport, Truth } from './model.js';
import { badge, choice, failed, field, form, loading, panel, valuesOf } from './parts.js';

const MARKS: Readonly<Record<Truth, { readonly icon: IconName; readonly word: string }>> = {
  yes: { icon: 'check', word: 'holds' },
  no: { icon: 'cross', word: 'does not hold' },
  unknown: { icon: 'question', word: 'is not known' },
};

const OUTCOMES: Readonly<Record<Truth, string>> = {
  yes: 'matches',
  no: 'does not match',
  unknown: 'cannot be told',
};

const mark = (truth: Truth): HTMLElement =>
  h(
    'span',
    { class: `mark ${truth}` },
    icon(MARKS[truth].icon),
    h('span', { class: 'unseen' }, MARKS[truth].word),
  );

const ruleItem = ({ rule, verb, shadow, truth, conditions }: RuleReport, decides: boolean): HTMLElement =>
  h(
    'li',
    { class: `why-rule ${truth} ${decides ? 'decides' : ''}` },
    h(
      'p',
      { class: 'why-head' },
      mark(truth),
      h('b', {}, rule),
      h('span', { class: 'quiet' }, ` ${verb}${shadow ? ', a shadow' : ''}: ${OUTCOMES[truth]}`),
      decides && h('span', { class: 'tag strong' }, 'decides'),
    ),
    h(
      'ul',
      {},
      conditions.length === 0 && h('li', {}, mark('yes'), 'always'),
      ...conditions.map(({ key, truth: one, why }) =>
        h('li', {}, mark(one), h('code', {}, key), ' ', visible(why)),
      ),
    ),
  );

const limitText = (used: number, most: number, what: string, seconds: number): string =>
  `${count(used)} of ${count(most)} ${what} are used, anew in ${span(seconds * 1_000)}`;

/** What the store adds to the rules. */
const standing = ({ suspended, limits = [], unknown, observe }: Explanation): Child => [
  observe && h('p', { class: 'fault' }, icon('eye'), 'Observing only: it passes all the same.'),
  suspended !== undefined &&
    h(
      'p',
      {},
      'The login is suspended, so it counts for nothing: ',
      visible(suspended.why),
      ', ',
      ends(suspended.until, 'until it is lifted'),
      '.',
    ),
  ...limits.map(({ used, most, what, resetSeconds }) =>
    h('p', {}, `${limitText(used, most, what, resetSeconds)}.`),
  ),
  ...unknown.map((each) =>
    h('p', { class: 'fault' }, icon('warn'), 'The state store does not answer: ', visible(each)),
  ),
];

export const showExplanation = (where: HTMLElement, explanation: Explanation): void => {
  const { rules, notReached, verdict, refusedBefore } = explanation;
  const matched = rules.filter(({ rule, shadow }) => rule === verdict.rule && !shadow).at(-1);
  fill(
    where,
    h('p', { class: `verdict ${verdict.kind}` }, badge(verdict.kind), h('span', {}, visible(verdict.why))),
    standing(explanation),
    refusedBefore.length > 0 &&
      h(
        'p',
        { class: 'quiet' },
        'It goes no further than the parser: no rule is looked at, whoever the client is.',
      ),
    rules.length > 0 &&
      h('ol', { class: 'why-rules' }, ...rules.map((each) => ruleItem(each, each === matched))),
    notReached.length > 0 && h('p', { class: 'quiet' }, `Not reached: ${notReached.join(', ')}.`),
  );
};

/** `1.3` of `TLSv1.3`; `TLSv1` is 1.0. */
const versionOf = (tls: string): string => (tls === 'TLSv1' ? '1.0' : tls.replace(/^TLSv/, ''));

/** The words of the form as the API takes them. */
const questionOf = (values: Readonly<Record<string, string>>): Question => {
  const { client = '', from = '', to = '', tls, ...rest } = values;
  return { client, from, to, ...rest, ...(tls === undefined ? {} : { tls: versionOf(tls) }) };
};

/** Names of the fields that are rarely asked for, as the summary tells them. */
const MORE = [
  ['listener', 'listener'],
  ['helo', 'HELO'],
  ['clientName', 'name'],
  ['login', 'login'],
  ['window', 'window'],
  ['tls', 'TLS'],
] as const;

const moreText = (given: Readonly<Record<string, string>>): string => {
  const filled = MORE.filter(([name]) => given[name] !== undefined).map(([, word]) => word);
  return `More about the client${filled.length === 0 ? '' : `: ${filled.join(', ')}`}`;
};

export const why = (main: HTMLElement, query: URLSearchParams): (() => void) => {
  const answer = h('div', { class: 'answer', 'aria-live': 'polite', tabindex: -1 });
  let asked = 0;
  const ask = async (values: Record<string, string>): Promise<void> => {
    asked += 1;
    const mine = asked;
    fill(answer, loading());
    try {
      const explanation = await send<Explanation>('POST', 'explain', questionOf(values));
      if (mine !== asked || explanation === undefined) return;
      showExplanation(answer, explanation);
      // On a phone it is below what can be seen.
      if (answer.getBoundingClientRect().top > innerHeight * 0.8) answer.scrollIntoView({ block: 'center' });
    } catch (error) {
      if (mine === asked) fill(answer, failed(failureOf(error)));
    }
  };
  const summary = h('summary', {}, moreText({}));
  const more = h(
    'details',
    {},
    summary,
    h(
      'div',
      { class: 'fields' },
      field('Listener', 'listener', { placeholder: 'mx' }),
      field('HELO', 'helo'),
      field('Its confirmed name', 'clientName', { placeholder: 'not known' }),
      field('Login', 'login', { placeholder: 'nobody logged in' }),
      field('Open window', 'window', { placeholder: 'pop3:hoge' }, 'source, or source:login'),
      choice('TLS', 'tls', [
        ['', 'clear text'],
        ['TLSv1.3', '1.3'],
        ['TLSv1.2', '1.2'],
        ['TLSv1.1', '1.1'],
        ['TLSv1', '1.0'],
      ]),
    ),
  );
  const question = form(
    'Question',
    'question',
    ask,
    h(
      'div',
      { class: 'fields' },
      field('Client', 'client', { required: true, placeholder: '203.0.113.9', inputmode: 'text' }),
      field('Sender', 'from', { required: true, placeholder: 'x@spam.example' }, '<> is the null sender'),
      field('Recipient', 'to', { required: true, placeholder: 'y@victim.example' }),
    ),
    more,
    h('div', { class: 'buttons' }, h('button', { type: 'submit', class: 'primary' }, 'Ask')),
  );
  for (const [name, value] of query) {
    const input = question.elements.namedItem(name);
    if (input instanceof HTMLInputElement || input instanceof HTMLSelectElement) input.value = value;
  }
  const tellMore = (): void => fill(summary, moreText(valuesOf(question)));
  question.addEventListener('input', tellMore);
  tellMore();
  main.append(
    h('h1', {}, 'Why?'),
    h(
      'p',
      { class: 'lead' },
      'What the policy in force says to one recipient, rule by rule. Nothing is sent.',
    ),
    h('div', { class: 'split' }, panel('Question', {}, question), panel('Answer', {}, answer)),
  );
  if (query.has('client') && query.has('to')) void ask(Object.fromEntries(query));
  else fill(answer, h('p', { class: 'empty' }, 'Ask, or click a decision in a list.'));
  return () => undefined;
};
