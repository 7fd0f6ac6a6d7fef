/** The policy in force, its rules, its tests, and what the self-test makes of it. */
import { send } from './api.js';
import { fill, h, visible, wire } from './dom.js';
import { count, movingTime, span } from './format.js';
import { icon } from './icons.js';
import * as model from './model.js';
import { act, badge, button, confirm, empty, failed, follow, panel } from './parts.js';
import { testsLine, trial } from './trial.js';

const limitText = ({ per, then, counts }: model.Limit): string => {
  const terms = counts.map(({ what, most, seconds }) => `${count(most)} ${what} in ${span(seconds * 1_000)}`);
  return `at most ${terms.join(' and ')} per ${per}, then ${then}`;
};

const ruleRow = ({ name, verb, shadow, conditions, limit }: model.PolicyRule, index: number): HTMLElement =>
  h(
    'tr',
    {},
    h('td', { class: 'number' }, String(index + 1)),
    h('th', { scope: 'row' }, name),
    h('td', {}, badge(verb, verb), shadow && h('span', { class: 'tag' }, icon('eye'), 'shadow')),
    h(
      'td',
      {},
      conditions.length === 0
        ? h('span', { class: 'quiet' }, 'always')
        : conditions.map(({ key, text }) =>
            h('span', { class: 'condition' }, h('code', {}, key), ' ', visible(text)),
          ),
      limit !== undefined && h('span', { class: 'condition quiet' }, limitText(limit)),
    ),
  );

const reload = async (): Promise<void> => {
  const sure = await confirm(
    'Reload the policy?',
    'The files are read anew and their tests are run first. On any fault the policy in force stays.',
    'Reload',
  );
  if (sure)
    await act('Reloaded. The policy is in force.', () => send('POST', 'policy/reload'), [
      model.policy,
      model.status,
      model.selfTest,
    ]);
};

export const policy = (main: HTMLElement): (() => void) => {
  const body = h('div');
  const test = h('div');
  const more = button('reload', 'Reload …', reload, { class: 'acts' });
  main.append(
    h('h1', {}, 'Policy'),
    panel('In force', { class: 'wide', more }, body),
    panel('Self-test', { class: 'wide' }, test),
    trial(),
  );
  const stops = [
    follow(model.policy, body, ({ source, hash, since, observe, rules, tests, lastReload: last }) => {
      fill(
        body,
        observe &&
          h('p', { class: 'fault' }, icon('warn'), 'Observing only: everything passes, whatever it says.'),
        last?.ok === false &&
          failed({
            kind: 'refused',
            text: 'The last reload failed; this one stayed in force.',
            faults: last.faults,
          }),
        h(
          'p',
          { class: 'lead' },
          wire(source),
          ' · since ',
          movingTime('ago', since),
          ' · ',
          h('code', { title: hash }, hash.slice(0, 12)),
        ),
        testsLine(tests),
        h(
          'div',
          { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Rules' },
          h(
            'table',
            { class: 'rules' },
            h(
              'thead',
              {},
              h(
                'tr',
                {},
                ...['#', 'Rule', 'Says', 'When all of these hold'].map((each) =>
                  h('th', { scope: 'col' }, each),
                ),
              ),
            ),
            h('tbody', {}, ...rules.map(ruleRow)),
          ),
        ),
        h(
          'p',
          { class: 'quiet' },
          'The first rule that matches decides. Where none does, relaying is denied.',
        ),
      );
    }),
    follow(model.selfTest, test, ({ forms, open, undecided }) => {
      if (forms === 0) return fill(test, empty('It has not run yet.'));
      const put = undecided > 0 ? `; ${count(undecided)} are put off for want of a fact` : '';
      fill(
        test,
        open.length === 0
          ? h(
              'p',
              { class: 'good-line' },
              icon('check'),
              `Closed: ${count(forms)} forms of relaying tried as a stranger, none passes${put}.`,
            )
          : [
              h(
                'p',
                { class: 'fault' },
                icon('warn'),
                `Open: ${count(open.length)} of ${count(forms)} forms of relaying pass.`,
              ),
              h('ul', { class: 'plain-list' }, ...open.map(openForm)),
            ],
      );
    }),
  ];
  return () => {
    for (const stop of stops) stop();
  };
};

const openForm = ({ form, mail, rcpt, rule, how }: model.OpenForm): HTMLElement =>
  h(
    'li',
    {},
    h('b', {}, form),
    ': ',
    wire(mail),
    ', ',
    wire(rcpt),
    ` ${visible(how)}, by rule `,
    h('b', {}, rule),
  );
