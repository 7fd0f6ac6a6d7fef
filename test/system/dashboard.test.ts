/** The page in real Chromium, over a real Sekisho, while swaks sends. */
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { AXE, Chromium, type Page } from '../support/chromium.js';
import { type LegacyMta, startLegacyMta } from '../support/legacy-mta.js';
import { freePort, install, noPackages } from '../support/packages.js';
import { folder, SekishoProcess } from '../support/process.js';
import { SmtpClient } from '../support/smtp-client.js';

const skip = noPackages() ?? false;
if (skip) t.comment(`skipped: ${skip}`);

/** Where pictures of the page go, to be looked at; nowhere by default. */
const PICTURES = process.env.SEKISHO_PICTURES;

const POLICY = `version: 1
domains: { ours: [local.example] }
rules:
  - { name: partners, shadow: true, allow: { from: friend.example } }
  - { name: inbound, allow: { to: ours } }
  - { name: roaming, allow: { window: any } }
tests:
  - { name: a stranger may not relay, client: 203.0.113.9, from: x@spam.example, to: y@victim.example, expect: deny }
`;

interface House {
  readonly dir: string;
  readonly admin: string;
  readonly smtp: number;
  readonly mta: LegacyMta;
  sekisho: SekishoProcess;
  /** Starts it again as it was. */
  again(): Promise<void>;
}

const house = async (t: Test, tokens = '', flags: readonly string[] = []): Promise<House> => {
  const mta = await startLegacyMta({ hostname: 'legacy.local.example' });
  t.teardown(() => mta.close());
  const admin = await freePort();
  const smtp = await freePort();
  const dir = folder(t, { 'policy.yaml': POLICY, tokens });
  const config = path.join(dir, 'sekisho.yaml');
  const secured = tokens === '' ? '' : ', tokens: tokens';
  writeFileSync(
    config,
    `listen: [{ host: 127.0.0.1, port: ${smtp} }]
upstream: { host: 127.0.0.1, port: ${mta.port} }
policy: policy.yaml
store: { lmdb: state }
admin: { listen: 127.0.0.1:${admin}${secured} }
`,
  );
  mkdirSync(path.join(dir, 'state'));
  chmodSync(path.join(dir, 'tokens'), 0o600);
  const start = (): Promise<SekishoProcess> => SekishoProcess.serve(['--config', config, ...flags]);
  const made: House = {
    ...{ dir, mta, smtp, admin: `http://127.0.0.1:${admin}/`, sekisho: await start() },
    again: async () => {
      made.sekisho = await start();
    },
  };
  t.teardown(() => made.sekisho.kill());
  return made;
};

interface Mail {
  readonly from?: string;
  readonly to?: string;
  readonly helo?: string;
  readonly client?: string;
}

/** Exit code of swaks: 0, or 24 when no recipient was taken. */
const swaks = (
  port: number,
  { from = 'x@spam.example', to = 'y@victim.example', helo = 'h.example', client = '127.0.0.2' }: Mail,
) =>
  new Promise<number>((resolve) => {
    const where = ['--server', '127.0.0.1', '--port', String(port), '--local-interface', client];
    execFile(
      'swaks',
      [...where, '--from', from, '--to', to, '--helo', helo, '--protocol', 'ESMTP'],
      (error) => resolve(error === null ? 0 : Number(error.code)),
    );
  });

const picture = async (page: Page, name: string): Promise<void> => {
  if (PICTURES === undefined) return;
  mkdirSync(PICTURES, { recursive: true });
  await page.screenshot(path.join(PICTURES, `${name}.png`));
};

/**
 * Nothing was said on the console, and nobody else was asked for anything. `refused`: answers with these error statuses
 * were wanted; of them the browser tells by itself.
 */
const quiet = (t: Test, page: Page, admin: string, refused: readonly number[] = []): void => {
  const wanted = (each: string): boolean =>
    refused.some((status) => each.includes(`responded with a status of ${status} `));
  t.strictSame(
    page.complaints.filter((each) => !wanted(each)),
    [],
    'the console is silent',
  );
  const others = page.requests.filter((url) => !url.startsWith(admin) && url !== 'about:blank');
  t.strictSame(others, [], 'no other host is asked');
};

const live = (page: Page): Promise<void> =>
  page.until('the line is open', `document.querySelector('#line').textContent === 'Live'`);

let chromium: Chromium;
/** One for all tests but that of the tokens: each takes up where the one before has left. */
let running: House;
t.before(async () => {
  if (skip) return;
  await install(['swaks']);
  chromium = await Chromium.start();
  running = await house(t);
});
t.teardown(() => (skip ? undefined : chromium.stop()));

t.test('what happens is seen as it happens, and why', { skip }, async (t) => {
  const { admin, smtp } = running;
  const page = await chromium.page();
  await page.open(admin);
  await live(page);
  await page.untilText('.empty', 'No mail has been judged');
  await page.untilText('.tile.good', 'Closed');
  await page.untilText('.tile.good', 'legacy.local.example');

  t.equal(await swaks(smtp, {}), 24, 'refused');
  await page.untilText('.decision.deny', 'y@victim.example');
  await page.untilText('.decision.deny', 'no rule allows it');
  t.equal(await swaks(smtp, { to: 'u@local.example' }), 0, 'taken');
  await page.untilText('.decision.allow', 'rule inbound');
  t.equal(await swaks(smtp, { from: 'z@friend.example' }), 24);
  await page.untilText('.tag', 'shadow “partners”: would be allowed');
  await page.untilText('.shadow-note', '1 of the last 3');
  await picture(page, 'overview-light');

  await page.click('.decision.deny a', 'x@spam.example');
  await page.untilText('h1', 'Why?');
  await page.untilText('.verdict.deny', 'no rule allows it');
  await page.untilText(
    '.why-rule',
    '<y@victim.example> may be read as victim.example (plain), which is not in ours',
  );
  t.equal(await page.evaluate(`document.querySelector('[name=client]').value`), '127.0.0.2');
  await page.type('[name=to]', 'hoge@local.example');
  await page.press('Enter');
  await page.untilText('.why-rule.decides', 'inbound');
  await page.type('[name=client]', 'nobody');
  await page.click('button[type=submit]', 'Ask');
  await page.untilText('.fault', 'not an IP address');
  await picture(page, 'why-light');

  await page.click('nav a', 'Decisions');
  await page.type('[name=text]', 'friend');
  await page.untilText('[role=status]', '1 of the last 3');
  quiet(t, page, admin, [400]);
  await page.close();
});

t.test('nothing from the wire becomes anything but text', { skip }, async (t) => {
  const { admin, smtp } = running;
  const page = await chromium.page();
  await page.open(admin);
  await live(page);
  const evil = '<img/src=x/onerror=alert(1)>';
  const client = await SmtpClient.connect(smtp, '127.0.0.2');
  await client.reply();
  for (const line of [
    `EHLO ${evil}`,
    'EHLO h.example',
    'MAIL FROM:<x@spam.example>',
    `RCPT TO:<"${evil}"@victim.example>`,
    'RSET',
    'MAIL FROM:<"<script>alert(1)</script>"@spam.example>',
  ])
    await client.say(line);
  // Right-to-left override, in UTF-8.
  client.send(Buffer.from('MAIL FROM:<"\u202egro.elpmaxe"@spam.example>\r\n'));
  await client.reply();
  client.destroy();
  await page.untilText('.decision', '"<script>alert(1)</script>"@spam.example');
  await page.untilText('.decision', 'gro.elpmaxe');
  await page.click('.decision a', evil);
  await page.untilText('.verdict', evil);
  t.equal(await page.evaluate(`document.querySelectorAll('main img, main script').length`), 0);
  const text = await page.evaluate<string>('document.body.textContent');
  t.notMatch(text, /\u202e/, 'nothing turns the direction of what is read');
  quiet(t, page, admin);
  const sources = await page.evaluate<string[]>(
    `Promise.all(performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('.js')).map(({ name }) => fetch(name).then((each) => each.text())))`,
  );
  t.ok(sources.length > 10, 'the scripts were found');
  for (const source of sources)
    t.notMatch(source, /\b(?:innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\()/);
  await page.close();
});

t.test('windows, logins and mail servers are steered by clicks', { skip }, async (t) => {
  const { admin, smtp } = running;
  const page = await chromium.page();
  await page.open(`${admin}#/logins`);
  await page.untilText('.empty', 'No window is open');
  await page.type('form[aria-label="Open a window"] [name=login]', 'hoge');
  await page.type('form[aria-label="Open a window"] [name=address]', '100.64.0.1');
  await page.click('button', 'Open a window');
  await page.untilText('.toast.bad', 'carrier');
  await page.type('form[aria-label="Open a window"] [name=address]', '127.0.0.2');
  await page.click('button', 'Open a window');
  await page.untilText('.toast', 'Opened a window for hoge');
  await page.untilText('th', 'hoge');
  t.equal(await swaks(smtp, {}), 0, 'it may relay');
  await picture(page, 'logins-light');
  await page.click('[data-action=close]');
  await page.untilText('.empty', 'No window is open');
  t.equal(await swaks(smtp, {}), 24, 'it may not any more');

  await page.type('form[aria-label="Suspend a login"] [name=login]', 'abe');
  await page.type('form[aria-label="Suspend a login"] [name=for]', '24h');
  await page.click('button[type=submit]', 'Suspend');
  await page.until('the question is asked', `document.querySelector('dialog[open]')`);
  await page.press('Escape');
  await page.until('it is taken back', `document.querySelector('dialog') === null`);
  t.equal(
    await page.evaluate(`document.querySelectorAll('[data-action=lift]').length`),
    0,
    'nothing was done',
  );
  await page.click('button[type=submit]', 'Suspend');
  await page.click('dialog button', 'Suspend');
  await page.untilText('td', '23 h 59 min left');
  await page.click('[data-action=lift]');
  await page.untilText('.empty', 'No login is suspended');

  await page.click('nav a', 'Connections');
  await page.click('[data-action=drain]');
  await page.click('dialog button', 'Drain');
  await page.untilText('.state', 'drained');
  t.not(await swaks(smtp, { to: 'u@local.example' }), 0, 'mail is put off');
  await page.click('[data-action=resume]');
  await page.untilText('.state.good', 'up');
  t.equal(await swaks(smtp, { to: 'u@local.example' }), 0);
  await page.click('.segments button', 'debug');
  await page.untilText('.lead', 'The log holds debug');
  await page.untilText('.top-senders', '127.0.0.2');
  quiet(t, page, admin, [409]);
  await page.close();
});

t.test('another policy is tried before it comes into force', { skip }, async (t) => {
  const { admin, smtp, dir } = running;
  const page = await chromium.page();
  await swaks(smtp, {});
  await swaks(smtp, { to: 'u@local.example' });
  await page.open(`${admin}#/policy`);
  await page.untilText('.rules', 'partners');
  await page.click('button', 'Start from the one in force');
  await page.until('it is there', `document.querySelector('textarea').value.startsWith('version: 1')`);
  await page.click('button', 'Try it');
  await page.untilText('.verdict.allow', 'None of the last');
  const open = POLICY.replace('rules:\n', 'rules:\n  - { name: no spam, deny: { from: spam.example } }\n');
  await page.type('textarea', open);
  await page.click('button', 'Try it');
  await page.untilText('.verdict.defer', 'decisions would change');
  await page.untilText('.change', 'no spam');
  await page.untilText('.change', 'u@local.example');
  await picture(page, 'policy-light');
  await page.type('textarea', POLICY.replace('ours }', 'our }'));
  await page.click('button', 'Try it');
  await page.untilText('.fault', 'line 5');
  t.equal(await swaks(smtp, { to: 'u@local.example' }), 0, 'nothing came into force');

  writeFileSync(path.join(dir, 'policy.yaml'), open);
  await page.click('[data-action=reload]');
  await page.click('dialog button', 'Reload');
  await page.untilText('.toast', 'The policy is in force');
  await page.untilText('.rules', 'no spam');
  t.equal(await swaks(smtp, { to: 'u@local.example' }), 24);
  writeFileSync(path.join(dir, 'policy.yaml'), POLICY.replace('expect: deny', 'expect: allow'));
  await page.click('[data-action=reload]');
  await page.click('dialog button', 'Reload');
  await page.untilText('.toast.bad', 'a stranger may not relay');
  await page.untilText('.fault', 'The last reload failed');
  await page.click('nav a', 'Overview');
  await page.untilText('.tile.fair', 'Reload failed');
  writeFileSync(path.join(dir, 'policy.yaml'), POLICY);
  await page.untilText('.tile.good', 'In force');
  quiet(t, page, admin, [422]);
  await page.close();
});

t.test('a lost connection is said, and comes back by itself', { skip }, async (t) => {
  const page = await chromium.page();
  await page.open(running.admin);
  await live(page);
  await swaks(running.smtp, {});
  await page.untilText('.decision', 'y@victim.example');
  await running.sekisho.kill();
  await page.untilText('#banner', 'Connection lost');
  await page.untilText('#banner', 'Trying again');
  await page.untilText('.decision', 'y@victim.example');
  await picture(page, 'lost-light');
  await running.again();
  await page.untilText('.toast', 'Connected again');
  await page.until('the banner is gone', `document.querySelector('#banner').hidden`);
  await page.untilText('.empty', 'No mail has been judged');
  await swaks(running.smtp, { to: 'new@victim.example' });
  await page.untilText('.decision', 'new@victim.example');
  const errors = page.complaints.filter((each) => !/ERR_|Failed to load/.test(each));
  t.strictSame(errors, [], 'beside what the browser says of a server that is gone');
  await page.close();
});

t.test('with tokens: none, a wrong one, one that may read, one that may do all', { skip }, async (t) => {
  const lines = 'reader read readreadreadreadreadread\nkeeper full fullfullfullfullfullfull\n';
  const { admin } = await house(t, lines);
  const page = await chromium.page();
  await page.open(`${admin}#/logins`);
  await page.untilText('dialog', 'A token is needed');
  await picture(page, 'token-light');
  // One of the answers to a wrong token comes late.
  await page.evaluate(`const real = window.fetch;
    window.fetch = async (...question) => {
      const answer = await real(...question);
      if (answer.status !== 401 || window.letGo) return answer;
      await new Promise((letGo) => { window.letGo = letGo; });
      return answer;
    }`);
  await page.type('dialog [name=token]', 'wrong');
  await page.press('Enter');
  await page.untilText('dialog', 'That token is not known');
  await page.type('dialog [name=token]', 'readreadreadreadreadread');
  await page.press('Enter');
  await page.untilText('#read-only', 'read only');
  await page.untilText('.empty', 'No window is open');
  await live(page);
  t.equal(await page.evaluate(`document.querySelector('form.acts').checkVisibility()`), false);
  await page.evaluate(`window.letGo(), new Promise((resolve) => setTimeout(resolve, 50))`);
  t.equal(await page.evaluate(`document.querySelector('dialog') === null`), true, 'it is no news');
  t.equal(
    await page.evaluate(`Object.keys(localStorage).join() + document.cookie`),
    '',
    'it is kept in this tab alone',
  );
  await page.click('#sign-out');
  await page.untilText('dialog', 'A token is needed');
  await page.type('dialog [name=token]', 'fullfullfullfullfullfull');
  await page.press('Enter');
  await page.until('it may act', `document.querySelector('form.acts').checkVisibility()`);
  quiet(t, page, admin, [401]);
  await page.close();
});

const VIEWS = [
  '',
  'decisions',
  'why?client=192.0.2.1&from=a@b.example&to=u@local.example',
  'policy',
  'logins',
  'connections',
];

t.test('both themes, on a desk and on a phone, for every sense', { skip }, async (t) => {
  const { admin, smtp } = running;
  const axe = readFileSync(AXE, 'utf8');
  await swaks(smtp, { from: 'z@friend.example' });
  await swaks(smtp, { to: 'u@local.example' });
  const page = await chromium.page();
  // Each theme and each width once: the colours do not depend on the width.
  for (const look of [
    { width: 390, theme: 'light' },
    { width: 1_280, theme: 'dark' },
  ] as const) {
    await page.look(look);
    await page.open(admin);
    await live(page);
    for (const view of VIEWS) {
      await page.evaluate(`location.hash = ${JSON.stringify(`#/${view}`)}`);
      await page.until(
        'nothing is loading',
        `document.querySelector('main h1') && !document.querySelector('.loading')`,
      );
      if (view === '' || view === 'decisions') await page.untilText('.decision', 'u@local.example');
      const name = `${view.replace(/\?.*/, '') || 'overview'}-${look.theme}-${look.width}`;
      t.equal(await page.overflow(), 0, `${name}: nothing sticks out`);
      const found = await page.violations(axe);
      const told = found.map(({ id, nodes }) => `${id}: ${nodes[0]?.html} ${nodes[0]?.failureSummary}`);
      t.strictSame(told, [], name);
      await picture(page, name);
    }
  }
  await page.look({ width: 1_280, theme: 'dark' });
  await page.open(admin);
  await page.press('Tab');
  t.equal(await page.evaluate('document.activeElement.id'), 'skip', 'the first stop leads to the content');
  await page.press('Enter');
  t.equal(await page.evaluate('document.activeElement.id'), 'main');
  const background = (): Promise<string> => page.evaluate('getComputedStyle(document.body).backgroundColor');
  const system = await background();
  await page.click('#theme');
  t.not(await background(), system, 'light was chosen in a dark system');
  const chosen = await background();
  await page.open(admin);
  t.equal(await background(), chosen, 'and is remembered');
  quiet(t, page, admin);
  await page.close();
});

t.test('many decisions at once leave the page alive', { skip }, async (t) => {
  const { admin, smtp } = running;
  const page = await chromium.page();
  await page.open(admin);
  await live(page);
  await Promise.all(
    Array.from({ length: 8 }, (_, i) =>
      swaks(smtp, { to: Array.from({ length: 9 }, (__, j) => `u${i}.${j}@burst.example`).join() }),
    ),
  );
  await page.untilText('.decision', '@burst.example');
  await page.until('the newest are shown', `document.querySelectorAll('.decision').length === 12`);
  await page.click('nav a', 'Decisions');
  await page.type('[name=text]', '@burst.example');
  await page.untilText('[role=status]', '72 of the last');
  quiet(t, page, admin);
  await page.close();
});

t.test('who only observes is told that everything passes', { skip }, async (t) => {
  const { admin, smtp } = await house(t, '', ['--observe']);
  const page = await chromium.page();
  await page.open(admin);
  await live(page);
  await page.untilText('.tile.bad', 'Only observing');
  await page.untilText('.tile.fair', 'Observed');
  t.equal(await swaks(smtp, {}), 0, 'it passes');
  await page.untilText('.decision', 'y@victim.example');
  await page.untilText('.tag', 'observed, let pass');
  quiet(t, page, admin);
  await page.close();
});
