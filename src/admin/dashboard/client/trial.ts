/** Another policy, tried before it comes into force. */
import { failureOf, request } from './api.js';
import { address, type Child, fill, h, visible, wire } from './dom.js';
import { clockTime, count, plural } from './format.js';
import { icon } from './icons.js';
import * as model from './model.js';
import { badge, button, empty, failed, loading, panel } from './parts.js';

export const testsLine = (tests: readonly model.PolicyTest[]): Child => {
  if (tests.length === 0) return h('p', { class: 'quiet' }, 'It bears no tests of its own.');
  const failedOnes = tests.filter(({ ok }) => !ok);
  if (failedOnes.length === 0)
    return h(
      'p',
      { class: 'good-line' },
      icon('check'),
      `${plural(tests.length, 'test')} of its own, all as expected`,
    );
  return h(
    'div',
    { class: 'fault' },
    h('p', {}, icon('warn'), `${count(failedOnes.length)} of ${plural(tests.length, 'test')} fail`),
    h(
      'ul',
      { class: 'faults' },
      ...failedOnes.map(({ name, why }) => h('li', {}, h('b', {}, name), ': ', visible(why))),
    ),
  );
};

const groupItem = ({ before, after, count: many, examples }: model.ReplayGroup): HTMLElement =>
  h(
    'li',
    { class: 'change' },
    h(
      'p',
      { class: 'change-head' },
      h('b', { class: 'change-count' }, count(many)),
      badge(before.verdict),
      h('span', { class: 'quiet' }, before.rule ?? 'no rule'),
      icon('arrow'),
      badge(after.verdict),
      h('span', { class: 'quiet' }, after.rule ?? 'no rule'),
    ),
    h(
      'ul',
      { class: 'examples' },
      ...examples.map(({ time, client, from, to, login }) =>
        h(
          'li',
          {},
          time !== undefined && [clockTime(time), ' '],
          wire(client, 'wire client'),
          login !== undefined && [' as ', wire(login, 'wire login')],
          ': ',
          address(from),
          ' to ',
          address(to),
        ),
      ),
    ),
  );

const LACKS: Readonly<Record<string, string>> = {
  client_name: "the client's name was not asked for",
  window: "the client's windows were not looked up",
  listed: 'blocklists were not asked',
};

const faultItem = ({ file, line, column, key, message, remedy }: model.PolicyFault): HTMLElement =>
  h(
    'li',
    {},
    h('b', {}, `${file === 'candidate' ? '' : `${file}, `}line ${line}, column ${column}`),
    key !== '' && [' ', h('code', {}, visible(key))],
    ': ',
    visible(message),
    remedy !== '' && `. ${visible(remedy)}`,
  );

const showFaults = (where: HTMLElement, errors: readonly model.PolicyFault[]): void =>
  fill(
    where,
    h(
      'div',
      { class: 'fault' },
      h('p', {}, icon('warn'), `It cannot be loaded: ${plural(errors.length, 'fault')}.`),
      h('ul', { class: 'faults' }, ...errors.map(faultItem)),
    ),
  );

export const showTrial = (where: HTMLElement, { errors, tests, differences }: model.Trial): void => {
  if (differences === undefined) return showFaults(where, errors);
  const { total, same, changed, moved, cannot, changes, moves } = differences;
  const verdict =
    total === 0
      ? h('p', { class: 'verdict none' }, 'It can be loaded. No decisions are there yet to try it on.')
      : h(
          'p',
          { class: `verdict ${changed > 0 ? 'defer' : 'allow'}` },
          icon(changed > 0 ? 'warn' : 'check'),
          h(
            'span',
            {},
            h(
              'b',
              {},
              changed > 0
                ? `${count(changed)} of the last ${plural(total, 'decision')} would change`
                : `None of the last ${plural(total, 'decision')} would change`,
            ),
            `; ${count(same)} stay, ${count(moved)} come out the same by another rule, ${count(cannot.count)} cannot be judged again`,
          ),
        );
  fill(
    where,
    verdict,
    testsLine(tests),
    changes.length > 0 && [
      h('h3', {}, 'What would change'),
      h('ul', { class: 'changes' }, ...changes.map(groupItem)),
    ],
    moves.length > 0 &&
      h(
        'details',
        {},
        h('summary', {}, `Same verdict by another rule (${count(moved)})`),
        h('ul', { class: 'changes' }, ...moves.map(groupItem)),
      ),
    cannot.count > 0 && [
      h('h3', {}, 'Cannot be judged again'),
      h(
        'ul',
        { class: 'plain-list' },
        ...cannot.why.map(({ why, count: many }) => h('li', {}, `${count(many)}: ${LACKS[why] ?? why}`)),
      ),
    ],
  );
};

/** Reads a file that somebody chose. */
const fileInto = (text: HTMLTextAreaElement): HTMLElement => {
  const input = h('input', {
    ...{
      type: 'file',
      class: 'unseen',
      tabindex: -1,
      'aria-hidden': 'true',
      accept: '.yaml,.yml,text/plain',
    },
    change: async () => {
      const [file] = input.files ?? [];
      if (file !== undefined) text.value = await file.text();
      input.value = '';
    },
  });
  return h(
    'span',
    {},
    input,
    button('file', 'Open a file …', () => input.click()),
  );
};

export const trial = (): HTMLElement => {
  const result = h('div', { class: 'answer', 'aria-live': 'polite' }, empty('Nothing has been tried yet.'));
  const text = h('textarea', {
    ...{
      id: 'candidate',
      rows: 16,
      spellcheck: 'false',
      autocapitalize: 'off',
      'aria-describedby': 'candidate-hint',
    },
  });
  const tryIt = async (): Promise<void> => {
    fill(result, loading());
    try {
      const init = { method: 'POST', body: text.value, headers: { 'content-type': 'application/yaml' } };
      showTrial(result, (await (await request('policy/test', init)).json()) as model.Trial);
    } catch (error) {
      fill(result, failed(failureOf(error)));
    }
  };
  const start = button('take', 'Start from the one in force', async () => {
    await model.policy.refresh();
    const now = model.policy.value?.text;
    if (now === undefined)
      fill(result, empty('The policy in force comes from the command line; there is no file to start from.'));
    else text.value = now;
  });
  return panel(
    'Try another policy',
    { class: 'wide' },
    h(
      'p',
      { class: 'lead', id: 'candidate-hint' },
      'It is compiled, its own tests are run, and the last thousand decisions are judged by it. Nothing comes into force.',
    ),
    h(
      'div',
      { class: 'split' },
      h(
        'div',
        { class: 'candidate' },
        h('label', { for: 'candidate' }, 'Candidate (YAML)'),
        text,
        h(
          'div',
          { class: 'buttons' },
          button('try', 'Try it', tryIt, { class: 'primary' }),
          start,
          fileInto(text),
        ),
      ),
      result,
    ),
  );
};
