/** Limits, windows and suspensions: at the number, one past it, and with the store down. */
import t, { type Test } from 'tap';
import type { Note, Peer, SekishoEvent } from '../../src/base/events.js';
import { parseIp } from '../../src/base/ip.js';
import { Suspensions } from '../../src/identity/suspensions.js';
import { Judge } from '../../src/proxy/judge.js';
import { ClientNames } from '../../src/proxy/names.js';
import { NO_STRANGER_OPTIONS, Strangers } from '../../src/proxy/strangers.js';
import { parsePath } from '../../src/smtp/address.js';
import type { Path } from '../../src/smtp/path.js';
import { StoreError } from '../../src/windows/store.js';
import { MemoryStore } from '../../src/windows/stores/memory.js';
import type { Window } from '../../src/windows/window.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { CLEAR_TEXT, logIn, passwords } from '../support/passwords.js';
import { policyOf, startSekisho } from '../support/sekisho.js';
import { SmtpClient } from '../support/smtp-client.js';

const MINUTE = 60_000;

/** A store that can be told to fail: in all it does, or in one operation. */
const breakable = () => {
  const control = { down: false, stuck: '' };
  const real = new MemoryStore();
  const store = new Proxy(real, {
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) =>
        control.down || control.stuck === key
          ? Promise.reject(new StoreError('count', 'store down'))
          : Reflect.apply(value, target, args);
    },
  });
  return { store, control };
};

const pathOf = (text: string): Path => {
  const path = parsePath(`<${text}>`, { utf8: false, nullAllowed: true });
  if (!path.ok) throw new Error(text);
  return path.value;
};

const windowOf = (login: string, budget = 0, address = '203.0.113.9'): Window => ({
  key: address,
  address,
  login,
  source: 'pop3',
  since: 0,
  until: 2e12,
  used: 0,
  budget,
});

/** A judge without sockets, for what only a login can do. */
const court = async (rules: string, open: Window[] = []) => {
  const events: SekishoEvent[] = [];
  const clock = { now: 1e12 };
  const { store, control } = breakable();
  for (const window of open) await store.open(window, 10, clock.now);
  const policy = policyOf(`version: 1\nrules:\n${rules}`);
  const note: Note = (event) => events.push(event);
  const now = (): number => clock.now;
  const strangers = new Strangers(NO_STRANGER_OPTIONS, store, note, now, () => policy);
  const judge = new Judge(new ClientNames(1000, []), strangers, note, store, now);
  const law = { policy, observe: false };
  const ask = (
    login: string | undefined,
    client = '203.0.113.9',
    from = pathOf('u@local.example'),
    listener = 'mx',
  ) => {
    const peer: Peer = {
      session: 's',
      listener,
      address: client,
      port: 1,
      name: undefined,
      helo: 'h',
      protocol: 'ESMTP',
      ...(login === undefined ? {} : { login }),
    };
    return judge.judge({ peer, client: parseIp(client)!, loginOffered: false, told: new Map() }, law, {
      ticket: 1,
      from,
      to: pathOf('y@far.example'),
    });
  };
  const said = async (...args: Parameters<typeof ask>): Promise<number> => {
    const judgement = await ask(...args);
    return judgement.permit ? 250 : judgement.reply.code;
  };
  return { said, ask, clock, control, events, store };
};
const many = async (t: Test, codes: readonly number[], ask: () => Promise<number>): Promise<void> => {
  for (const [i, code] of codes.entries()) t.equal(await ask(), code, `number ${i + 1}`);
};

/** One rule that allows `conditions` up to a limit, in a store of its own. */
const limited = (conditions: string, limit: string, open: Window[] = []) =>
  court(`  - { name: a, allow: { ${conditions} }, limit: { ${limit} } }\n`, open);

t.test('recipients per login: at the limit, past it, another login, the next period', async (t) => {
  const { said, events } = await limited('login: any', 'recipients: 3/2s, per: login');
  await many(t, [250, 250, 250, 451, 451], () => said('hoge'));
  t.equal(await said('fuga'), 250);
  t.match(
    events.filter(({ type }) => type === 'limit-exceeded'),
    [{ limit: 'a', why: '4 recipients, 3 are allowed in 2 s' }, {}],
  );
  const until = Date.now() + 10_000;
  let code = 451;
  while (code !== 250 && Date.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    code = await said('hoge');
  }
  t.equal(code, 250, 'the next period');
});

t.test('for whom it is counted', async (t) => {
  const one = 'recipients: 1/1m, per:';
  type Said = Awaited<ReturnType<typeof court>>['said'];
  /** One for each that is counted by itself, then one of the same as the first. */
  const apart = async (t: Test, said: Said, asks: readonly Parameters<Said>[], same: Parameters<Said>) => {
    for (const ask of asks) t.equal(await said(...ask), 250, `${ask[1]} ${ask[3]}`);
    t.equal(await said(...same), 451, 'the same once more');
  };
  const sender = (text: string): Parameters<Said> => [undefined, undefined, pathOf(text)];
  const near = 'client: [203.0.0.0/16, 198.51.100.0/24, "2001:db8::/32"]';
  await t.test('client', async (t) => {
    const { said } = await limited(near, `${one} client`);
    const asks: Parameters<Said>[] = ['203.0.113.9', '203.0.113.10', '2001:db8::1'].map((ip) => [
      undefined,
      ip,
    ]);
    await apart(t, said, asks, [undefined, '203.0.113.9', pathOf('other@local.example'), 'other']);
    t.equal(await said(undefined, '2001:db8::2'), 451, 'of IPv6 the whole /64');
    t.equal(await said(undefined, '2001:db8:0:1::2'), 250);
  });
  await t.test('network', async (t) => {
    const { said } = await limited(near, `${one} network`);
    const asks: Parameters<Said>[] = ['203.0.113.9', '198.51.100.7', '2001:db8::1'].map((ip) => [
      undefined,
      ip,
    ]);
    await apart(t, said, asks, [undefined, '203.0.7.7']);
    t.equal(await said(undefined, '2001:db8:ffff::2'), 451, 'of IPv6 the whole /32');
  });
  await t.test('sender', async (t) => {
    const { said } = await limited(near, `${one} sender`);
    const null_ = parsePath('<>', { utf8: false, nullAllowed: true });
    if (!null_.ok) throw new Error('null');
    const asks = [sender('a@local.example'), sender('b@local.example')];
    await apart(t, said, asks, [undefined, '203.0.113.77', pathOf('a@LOCAL.example')]);
    t.equal(await said(undefined, undefined, null_.value), 250);
    t.equal(await said(undefined, undefined, null_.value), 451, 'the null sender is one sender');
  });
  await t.test('listener', async (t) => {
    const { said } = await limited(`listener: [mx, other], ${near}`, `${one} listener`);
    const asks = ['mx', 'other'].map((name): Parameters<Said> => [undefined, undefined, undefined, name]);
    await apart(t, said, asks, [undefined, '203.0.113.77']);
  });
  await t.test('rule', async (t) => {
    const { said } = await limited(near, `${one} rule`);
    await apart(t, said, [[undefined, '203.0.113.9']], [undefined, '2001:db8::1', pathOf('b@local.example')]);
  });
  await t.test('window', async (t) => {
    const open = [windowOf('hoge'), windowOf('hoge', 0, '203.0.113.10')];
    const { said, events } = await limited('window: any', `${one} window`, open);
    await apart(t, said, [[undefined], [undefined, '203.0.113.10']], [undefined]);
    t.match(events.filter(({ type }) => type === 'decision')[0], { peer: { window: { login: 'hoge' } } });
  });
});

t.test('a window whose limit is exceeded suspends its login', async (t) => {
  const open = [windowOf('hoge'), windowOf('hoge', 0, '203.0.113.10')];
  const { said, store, clock } = await limited(
    'window: any',
    'recipients: 1/1m, per: window, then: suspend',
    open,
  );
  await many(t, [250, 550, 550], () => said(undefined));
  t.equal(await said(undefined, '203.0.113.10'), 550, 'wherever it has one');
  t.same(await store.list(10, clock.now), []);
});

t.test('suspension takes the login away for so long, then begins anew', async (t) => {
  const { said, clock, events, store } = await limited(
    'login: any',
    'recipients: 1/1d, per: login, then: suspend, for: 1h',
  );
  await store.open(windowOf('hoge'), 10, clock.now);
  await many(t, [250, 550, 550], () => said('hoge'));
  t.equal(await said('fuga'), 250);
  t.same(await store.list(10, clock.now), [], 'its windows are closed');
  clock.now += 60 * MINUTE - 1;
  t.equal(await said('hoge'), 550, 'one millisecond before the end');
  clock.now += 1;
  await many(t, [250, 550], () => said('hoge'));
  t.equal(events.filter(({ type }) => type === 'login-suspended').length, 2);
  t.ok(await new Suspensions(store, () => {}).lift('hoge', 'by hand', clock.now));
  await many(t, [250, 550], () => said('hoge'));
});

t.test('who is suspended by many at once is suspended once', async (t) => {
  const { said, events } = await limited('login: any', 'recipients: 5/1m, per: login, then: suspend');
  const codes = await Promise.all(Array.from({ length: 20 }, () => said('hoge')));
  t.equal(codes.filter((code) => code === 250).length, 5);
  t.equal(events.filter(({ type }) => type === 'login-suspended').length, 1);
});

t.test('a suspended login is as good as none, whatever else the policy has', async (t) => {
  const { said, clock, control, events } = await court(
    '  - { name: barred, deny: { login: fuga } }\n' +
      '  - { name: a, allow: { login: any }, limit: { recipients: 1/1m, per: login, then: suspend } }\n' +
      '  - { name: w, allow: { window: any } }\n' +
      '  - { name: near, allow: { client: 192.0.2.0/24 } }\n',
    [windowOf('hoge')],
  );
  control.stuck = 'close';
  await many(t, [250, 550], () => said('hoge'));
  t.match(
    events.filter(({ type }) => type === 'login-suspended' || type === 'store-error').map(({ type }) => type),
    ['login-suspended', 'store-error'],
    'suspended although its windows could not be closed',
  );
  t.equal(await said('hoge'), 550, 'its window is none');
  t.equal(await said(undefined), 550, 'for nobody');
  t.equal(await said('hoge', '192.0.2.1'), 250, 'it may do what nobody has to log in for');
  t.equal(await said('fuga', '192.0.2.1'), 550, 'a rule against a login needs no look at suspensions');
  clock.now += 30 * 24 * 60 * MINUTE;
  t.equal(await said('hoge'), 550, 'until it is lifted');
  control.down = true;
  t.equal(await said('hoge'), 451);
  t.equal(await said('hoge', '192.0.2.1'), 451, 'the window was asked before');
});

t.test('messages, addresses and networks', async (t) => {
  const messages = await limited('login: any', 'messages: 2/1m, per: login');
  const one = pathOf('u@local.example');
  await many(t, [250, 250, 250], () => messages.said('hoge', '203.0.113.9', one));
  t.equal(await messages.said('hoge'), 250, 'a second message');
  t.equal(await messages.said('hoge'), 451, 'a third');
  t.equal(await messages.said('hoge', '203.0.113.9', one), 250, 'one that has been counted goes on');
  const addresses = await limited('login: any', 'addresses: 2/1m, per: login, then: deny');
  for (const [client, code] of [
    ['2001:db8::1', 250],
    ['2001:db8::2', 250],
    ['203.0.113.9', 250],
    ['203.0.113.10', 550],
  ] as const)
    t.equal(await addresses.said('hoge', client), code, client);
  const networks = await limited('login: any', 'networks: 1/1m, per: login');
  t.equal(await networks.said('hoge', '203.0.113.9'), 250);
  t.equal(await networks.said('hoge', '203.0.1.1'), 250);
  t.equal(await networks.said('hoge', '198.51.100.1'), 451);
  const both = await limited('login: any', 'recipients: 2/1m, networks: 1/1m, per: login');
  t.equal(await both.said('hoge', '203.0.113.9'), 250);
  t.equal(await both.said('hoge', '198.51.100.1'), 451, 'the second of two counts');
});

t.test('windows spend their budget', async (t) => {
  const { said } = await court('  - { name: a, allow: { window: any } }\n', [windowOf('hoge', 2)]);
  await many(t, [250, 250, 550], () => said(undefined));
  t.equal(await said(undefined, '203.0.113.8'), 550);
});

t.test('store down: what needs it is deferred, the rest goes on, at once', async (t) => {
  const { said, ask, control, events } = await court(
    '  - { name: near, allow: { client: 192.0.2.1 } }\n' +
      '  - { name: a, allow: { login: any }, limit: { recipients: 2/1m, per: login } }\n',
  );
  t.notOk(ask(undefined, '192.0.2.1') instanceof Promise, 'nothing to fetch: synchronous');
  control.down = true;
  t.equal(await said('hoge'), 451);
  t.equal(await said('hoge', '192.0.2.1'), 250);
  t.ok(events.some(({ type }) => type === 'store-error'));
});

t.test('a store that cannot remember a suspension lets nothing pass', async (t) => {
  const { said, control } = await limited('login: any', 'recipients: 1/1m, per: login, then: suspend');
  control.stuck = 'mark';
  await many(t, [250, 451, 451], () => said('hoge'));
  control.stuck = '';
  await many(t, [550, 550], () => said('hoge'));
});

t.test('over sockets', async (t) => {
  const mta = await startLegacyMta();
  const { store, control } = breakable();
  const sekisho = await startSekisho({
    upstreams: [{ port: mta.port }],
    policy: policyOf(
      'version: 1\nrules:\n  - { name: a, allow: { to: local.example }, limit: { recipients: 2/1m, per: client } }\n  - { name: b, allow: { to: other.example } }\n',
    ),
    state: store,
  });
  t.teardown(async () => {
    await sekisho.stop();
    await mta.close();
  });
  const client = await SmtpClient.connect(sekisho.port, '127.0.0.2');
  await client.reply();
  await client.say('EHLO c.example');
  await client.say('MAIL FROM:<a@sender.example>');
  const rcpt = (): Promise<string> => client.say('RCPT TO:<bob@local.example>');
  t.match(await rcpt(), /^250/);
  t.match(await rcpt(), /^250/);
  t.match(await rcpt(), /^451 4\.7\.1 <bob@local\.example>\.\.\. Too much mail for now/);
  control.down = true;
  t.match(await rcpt(), /^451 4\.7\.1/);
  t.match(await client.say('RCPT TO:<bob@other.example>'), /^250/, 'what needs no count goes on');
  client.destroy();
});

/** A Sekisho to log in to, and sessions that have said MAIL. */
const house = async (t: Test, rules: string, state = new MemoryStore()) => {
  const mta = await startLegacyMta();
  const sekisho = await startSekisho({
    upstreams: [{ port: mta.port }],
    policy: policyOf(`version: 1\nrules:\n  - { name: in, allow: { to: local.example } }\n${rules}`),
    logins: [passwords({ hoge: 'secret', fuga: 'secret' })],
    devices: [CLEAR_TEXT],
    throttle: { delay: 0 },
    state,
  });
  t.teardown(async () => {
    await sekisho.stop();
    await mta.close();
  });
  const greeted = async (): Promise<SmtpClient> => {
    const client = await SmtpClient.connect(sekisho.port, '127.0.0.2');
    t.teardown(() => client.destroy());
    await client.reply();
    await client.say('EHLO c.example');
    return client;
  };
  const session = async (login: string | undefined, from: string): Promise<SmtpClient> => {
    const client = await greeted();
    if (login !== undefined) t.match(await logIn(client, login, 'secret'), /^235/, `${login} logs in`);
    t.match(await client.say(`MAIL FROM:<${from}>`), /^250/);
    return client;
  };
  return { sekisho, greeted, session };
};
const far = (client: SmtpClient): Promise<string> => client.say('RCPT TO:<y@far.example>');

t.test('logins over sockets: past the limit they are deferred or denied', async (t) => {
  for (const [then, reply] of [
    ['defer', /^451 4\.7\.1 <y@far\.example>\.\.\. Too much mail for now/],
    ['deny', /^550 5\.7\.1 <y@far\.example>/],
  ] as const) {
    const limit = `limit: { recipients: 2/1m, per: login, then: ${then} }`;
    const { session } = await house(t, `  - { name: a, allow: { login: any }, ${limit} }\n`);
    const one = await session('hoge', 'hoge@local.example');
    const two = await session('hoge', 'hoge@local.example');
    t.match(await far(one), /^250/);
    t.match(await far(two), /^250/, 'counted over sessions');
    t.match(await far(one), reply);
    t.match(await far(two), reply);
    t.match(await far(await session('fuga', 'fuga@local.example')), /^250/, 'another login');
    t.match(await one.say('RCPT TO:<u@local.example>'), /^250/, 'mail for ourselves goes on');
    t.match(await far(await session(undefined, 'hoge@local.example')), /^550/, 'nobody');
  }
});

t.test('logins over sockets: a suspended one loses the rights of its open sessions', async (t) => {
  const limit = 'limit: { recipients: 2/1m, per: login, then: suspend }';
  const { sekisho, greeted, session } = await house(t, `  - { name: a, allow: { login: any }, ${limit} }\n`);
  const thief = await session('hoge', 'hoge@local.example');
  const owner = await session('hoge', 'hoge@local.example');
  t.match(await far(thief), /^250/);
  t.match(await far(thief), /^250/);
  t.match(await far(thief), /^550/);
  t.match(await far(owner), /^550 5\.7\.1 <y@far\.example>\.\.\. Relaying denied/);
  t.match(await owner.say('RCPT TO:<u@local.example>'), /^250/);
  const again = await greeted();
  t.match(await logIn(again, 'hoge', 'secret'), /^535/);
  t.match(await far(await session('fuga', 'fuga@local.example')), /^250/);
  t.match(sekisho.of('login-suspended'), [{ login: 'hoge', why: /rule "a": 3 recipients, 2 are allowed/ }]);
  t.match(sekisho.of('auth').at(-2), { result: 'suspended', login: 'hoge' });
});

t.test('windows over sockets: what is left in them, and what their limit is', async (t) => {
  const state = new MemoryStore();
  const window = { ...windowOf('hoge', 0, '127.0.0.2'), until: Date.now() + 3_600_000 };
  const rule = (n: number): string =>
    `  - { name: a, allow: { window: pop3, from: local.example }, limit: { recipients: ${n}/1m, per: window } }\n`;
  const { sekisho, session } = await house(t, rule(2), state);
  const client = await session(undefined, 'hoge@local.example');
  t.match(await far(client), /^550/, 'no window yet');
  await state.open(window, 10, Date.now());
  t.match(await far(client), /^250/);
  t.match(await far(client), /^250/);
  t.match(await far(client), /^451 4\.7\.1/);
  t.match(sekisho.of('limit-exceeded'), [{ limit: 'a', why: /3 recipients/ }]);
  t.match(await far(await session(undefined, 'x@spam.example')), /^550/, 'a foreign sender');
  await state.close({ login: 'hoge' }, Date.now());
  t.match(await far(client), /^550/, 'closed');
  await state.open({ ...window, budget: 1 }, 10, Date.now());
  const { session: other } = await house(t, rule(100), state);
  const poor = await other(undefined, 'hoge@local.example');
  t.match(await far(poor), /^250/);
  t.match(await far(poor), /^550/, 'the window is spent');
});
