/**
 * What every CredentialStore has to keep, whatever stands behind it. A store's own test says how to start one
 * (`Contract`), and runs the suite with `credentialStoreContract(t, contract)`.
 */
import fc from 'fast-check';
import type { Test } from 'tap';
import type { Attempt, CredentialStore, Outcome, Proof } from '../../src/identity/credentials.js';

export interface Account {
  readonly user: string;
  /** For stores of tokens: the secret by which `proof` finds or makes the token. */
  readonly password: string;
  readonly disabled?: boolean;
}

export interface Setting {
  readonly accounts: readonly Account[];
  /** The store's bound on attempts in hand at once. */
  readonly inHand: number;
  /** Milliseconds: the store's own timeout. */
  readonly timeout: number;
}

/** A peer in trouble. */
export const TROUBLES = [
  /** Its port refuses connections, or its socket is gone. */
  'stopped',
  /** SIGSTOP: takes connections, never answers. */
  'hung',
  /** Octet by octet, each in good time, the whole never by the store's timeout. */
  'slow',
  /** Answers that are none of its protocol, binary ones and endless lines among them. */
  'nonsense',
  /** Ends the connection in the middle of its answer. */
  'closing',
  /** Says by its protocol's own means that it cannot judge just now. */
  'failing',
] as const;
export type Trouble = (typeof TROUBLES)[number];

export interface Started {
  readonly store: CredentialStore;
  /** What the store has noted so far: searched for secrets. */
  readonly noted?: () => readonly string[];
  /** What it still holds of the peer (connections, as the peer counts them), 0 after close(). */
  readonly held?: () => number | Promise<number>;
  /** Trouble begins; before it the store must say `ok`. Without it the peer is in trouble from the start. */
  readonly cause?: () => void | Promise<void>;
  /** Trouble ends; the store must come to say `ok` again by itself. */
  readonly cure?: () => void | Promise<void>;
}

export interface Contract {
  readonly name: string;
  /** Starts a peer that knows the accounts, and a store in front of it; ends the peer at teardown (the store is closed here). */
  start(t: Test, setting: Setting): Promise<Started>;
  /** Starts one whose peer is, or can be put, in trouble. Those left out cannot happen to this store. */
  readonly troubles?: Partial<Record<Trouble, (t: Test, setting: Setting) => Promise<Started>>>;
  /** Makes the proof; default: `password`. */
  proof?(user: string, password: string): Proof | Promise<Proof>;
  /** False for accounts that the peer cannot have: then they need not be `ok`, but still never reject. */
  holds?(account: Account): boolean;
  /** The canonical name of a login; default: as it was typed. */
  nameOf?(user: string): string;
  /** Other spellings by which `alice@example.org` may log in. */
  readonly spellings?: readonly string[];
  /** Spellings of `alice@example.org` that are somebody else. */
  readonly strangers?: readonly string[];
  /** The peer knows no disabled users. */
  readonly neverDisabled?: boolean;
  /** Milliseconds of the store's own timeout in the tests of trouble; default 1000. */
  readonly timeout?: number;
  /** The store itself does the costly work: unknown users must take about as long as wrong passwords. */
  readonly ownCost?: boolean;
}

const ALICE: Account = { user: 'alice@example.org', password: 'Correct-Horse-7' };
const DISABLED: Account = { user: 'gone@example.org', password: 'Was-Right-Once-3', disabled: true };

const octets = (text: string, length: number): string => text + 'x'.repeat(length - Buffer.byteLength(text));

/** Users and passwords that break quoting, separators, patterns and encodings. */
export const ODD: readonly Account[] = [
  { user: 'jürgen@example.org', password: 'Pässwörter-1' },
  { user: 'ユーザー@example.jp', password: 'パスワード-2' },
  { user: 'with space@example.org', password: 'white space in the middle' },
  { user: 'lead@example.org', password: ' begins and ends with spaces ' },
  { user: 'tab@example.org', password: 'tab\there-5' },
  { user: 'quote"d@example.org', password: 'quo"te\'s-6' },
  { user: "o'brien@example.org", password: 'back\\slash\\-7' },
  { user: 'percent%u@example.org', password: '%24%2f&a=b+c;d-8' },
  { user: 'star*@example.org', password: '*)(uid=*)-9' },
  { user: 'a,b=c@example.org', password: '{PLAIN}brace-10' },
  { user: 'colon@example.org', password: 'with:colons:-11' },
  { user: '\\backslash', password: '$6$dollar$signs-12' },
  { user: octets('long-', 255), password: 'Long-Name-13' },
  { user: 'longpw@example.org', password: octets('Long-Password-', 255) },
];

export const attempt = (over: Partial<Attempt> = {}): Attempt => ({
  protocol: 'smtp',
  listener: 'submission',
  client: '192.0.2.7',
  clientPort: 40_000,
  secure: true,
  helo: 'client.example',
  session: 'test-1',
  nth: 1,
  ...over,
});

/** Patience for a loaded machine, beyond the store's own timeout. */
const PATIENCE = 60_000;

const within = async <T>(what: string, time: number, work: Promise<T>): Promise<T> => {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: no answer within ${time} ms`)), time);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
};

const isWhy = (outcome: Outcome): string => (outcome.kind === 'ok' ? '' : outcome.why);

export const credentialStoreContract = (t: Test, contract: Contract): void => {
  const proofOf = async (user: string, password: string): Promise<Proof> =>
    contract.proof?.(user, password) ?? { kind: 'password', user, password };
  const holds = (account: Account): boolean => contract.holds?.(account) ?? true;
  const nameOf = (user: string): string => contract.nameOf?.(user) ?? user;
  const timeout = contract.timeout ?? 1_000;
  const ALL: Setting = { accounts: [ALICE, DISABLED, ...ODD.filter(holds)], inHand: 100, timeout: 30_000 };

  const begin = async (t: Test, setting: Setting, how = contract.start): Promise<Started> => {
    const started = await how.call(contract, t, setting);
    t.teardown(() => started.store.close());
    return started;
  };

  /** Asks, and holds what holds for every answer. */
  const ask = async (t: Test, { store }: Started, user: string, password: string): Promise<Outcome> => {
    const proof = await proofOf(user, password);
    const outcome = await within(
      `verify in ${store.name}`,
      30_000 + PATIENCE,
      store.verify(proof, attempt()),
    );
    if (password.length >= 4 && isWhy(outcome).includes(password)) t.fail('the secret is in why');
    if (outcome.kind === 'ok') {
      const { name } = outcome.login;
      t.ok(Buffer.byteLength(name) <= 255 && !/[\u0000-\u001f\u007f]/.test(name), 'a name fit for logs');
    } else {
      t.not(outcome.why, '', 'why says something');
    }
    return outcome;
  };

  const expect = async (
    t: Test,
    started: Started,
    [user, password]: readonly [string, string],
    kind: Outcome['kind'],
    message: string,
  ): Promise<void> => {
    const outcome = await ask(t, started, user, password);
    t.equal(outcome.kind, kind, `${message}: ${isWhy(outcome)}`);
  };

  /** Until it says `ok`: a peer that is slow to begin is unavailable at first. */
  const untilOk = async (t: Test, started: Started, message: string): Promise<void> => {
    const end = Date.now() + PATIENCE;
    let last = await ask(t, started, ALICE.user, ALICE.password);
    while (last.kind !== 'ok' && Date.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      last = await ask(t, started, ALICE.user, ALICE.password);
    }
    t.equal(last.kind, 'ok', `${message}: ${isWhy(last)}`);
  };

  t.test(`${contract.name}: right, wrong, unknown, disabled`, async (t) => {
    const started = await begin(t, ALL);
    const right = await ask(t, started, ALICE.user, ALICE.password);
    t.equal(right.kind === 'ok' ? right.login.name : isWhy(right), nameOf(ALICE.user));
    t.ok(started.store.proves.size > 0, 'it says what it proves');
    t.ok(started.store.proves.has((await proofOf('a', 'b')).kind));
    t.not(started.store.name, '');
    await expect(t, started, [ALICE.user, `${ALICE.password}x`], 'wrong', 'one character more');
    await expect(t, started, [ALICE.user, ALICE.password.slice(0, -1)], 'wrong', 'one character less');
    await expect(t, started, [ALICE.user, ALICE.password.toLowerCase()], 'wrong', 'another case');
    await expect(t, started, [ALICE.user, ` ${ALICE.password}`], 'wrong', 'a space before');
    await expect(t, started, ['nobody@example.org', ALICE.password], 'wrong', "another's password");
    await expect(t, started, ['nobody@example.org', 'Whatever-1'], 'wrong', 'unknown user');
    await expect(t, started, [ALICE.user, ''], 'wrong', 'empty password');
    await expect(t, started, ['', ALICE.password], 'wrong', 'empty user');
    if (contract.neverDisabled !== true)
      await expect(t, started, [DISABLED.user, DISABLED.password], 'wrong', 'disabled');
    for (const user of contract.spellings ?? []) {
      const outcome = await ask(t, started, user, ALICE.password);
      t.equal(outcome.kind === 'ok' ? outcome.login.name : isWhy(outcome), nameOf(ALICE.user), user);
    }
    for (const user of contract.strangers ?? [])
      await expect(t, started, [user, ALICE.password], 'wrong', `${user} is somebody else`);
    for (const text of started.noted?.() ?? [])
      for (const { password } of ALL.accounts) if (text.includes(password)) t.fail('a secret was noted');
  });

  t.test(`${contract.name}: odd names and passwords`, async (t) => {
    const started = await begin(t, ALL);
    for (const account of ODD) {
      const { user, password } = account;
      const outcome = await ask(t, started, user, password);
      if (!holds(account)) continue;
      t.equal(outcome.kind === 'ok' ? outcome.login.name : isWhy(outcome), nameOf(user), user);
      await expect(t, started, [user, `${password.slice(0, -1)}~`], 'wrong', `${user}, wrong`);
      await expect(t, started, [user, ALICE.password], 'wrong', `${user} with another's password`);
    }
  });

  t.test(`${contract.name}: what ends a line or a string is refused, and injects nothing`, async (t) => {
    const started = await begin(t, ALL);
    const { user, password } = ALICE;
    for (const end of ['\r\n', '\n', '\r', '\0', '\u0001', '\u007f', '\t', '\u0085', '\ud800']) {
      for (const each of [
        `${user}${end}`,
        `${end}${user}`,
        `${user}${end}PASS ${password}`,
        `al${end}ice@example.org`,
      ])
        await expect(t, started, [each, password], 'wrong', JSON.stringify(each));
    }
    for (const end of ['\r\n', '\n', '\r', '\0', '\ud800']) {
      for (const each of [
        `${password}${end}`,
        `${end}${password}`,
        `x${end}${password}`,
        `${password}${end}x`,
      ])
        await expect(t, started, [user, each], 'wrong', JSON.stringify(each.replace(password, '…')));
    }
    await expect(t, started, [octets('long-', 256), 'Long-Name-13'], 'wrong', 'a user of 256 octets');
    await expect(t, started, [octets('ü', 256), 'Long-Name-13'], 'wrong', 'and with UTF-8 in it');
    if ((await proofOf('a', 'b')).kind === 'password')
      await expect(t, started, ['longpw@example.org', octets('Long-Password-', 256)], 'wrong', '256 octets');
    await expect(t, started, [user, password], 'ok', 'the next one is judged as ever');
  });

  t.test(`${contract.name}: never rejects, and nobody gets in by chance`, async (t) => {
    const started = await begin(t, ALL);
    const text = fc.oneof(fc.string({ unit: 'binary' }), fc.string(), fc.constantFrom(ALICE.user, '*', 'x'));
    await fc.assert(
      fc.asyncProperty(text, text, async (user, password) => {
        const outcome = await started.store.verify(await proofOf(user, password), attempt());
        return outcome.kind === 'wrong';
      }),
      { numRuns: 40, endOnFailure: true, interruptAfterTimeLimit: 20_000 },
    );
    const others: Proof[] = [
      { kind: 'token', user: ALICE.user, token: 'abc.def.ghi' },
      { kind: 'cram-md5', user: ALICE.user, challenge: '<1@x>', digest: '0'.repeat(32) },
      { kind: 'password', user: ALICE.user, password: 'Never-Right' },
      {
        kind: 'external',
        user: ALICE.user,
        certificate: { fingerprint: '0'.repeat(64), subject: undefined, names: [] },
      },
    ];
    for (const proof of others)
      t.not((await started.store.verify(proof, attempt())).kind, 'ok', `a ${proof.kind} of nobody's`);
    const keys = await started.store.scramKeys?.('nobody@example.org', attempt());
    if (keys !== undefined) t.equal(keys.kind, 'wrong', 'no keys of an unknown user');
  });

  t.test(`${contract.name}: a bound on attempts in hand, and busy past it`, async (t) => {
    const inHand = 3;
    const started = await begin(t, { ...ALL, inHand });
    const all = (count: number): Promise<Outcome[]> =>
      Promise.all(Array.from({ length: count }, () => ask(t, started, ALICE.user, ALICE.password)));
    t.strictSame(
      (await all(inHand)).map(({ kind }) => kind),
      Array(inHand).fill('ok'),
      'as many as may be',
    );
    const more = await all(inHand + 1);
    t.equal(more.filter(({ kind }) => kind === 'ok').length, inHand, 'one more does not hurt the others');
    const busy = more.filter(({ kind }) => kind === 'unavailable');
    t.equal(busy.length, 1, 'the one past the bound is not wrong but unavailable');
    t.match(isWhy(busy[0] ?? { kind: 'wrong', why: 'none' }), /busy/);
    await expect(t, started, [ALICE.user, ALICE.password], 'ok', 'and there is room again');
  });

  if (contract.ownCost === true) {
    t.test(`${contract.name}: an unknown user costs what a wrong password costs`, async (t) => {
      const started = await begin(t, ALL);
      // In turn, and the best of many: the machine may be busy with other things.
      const best = new Map<string, number>();
      for (let i = 0; i < 15; i += 1) {
        for (const user of [ALICE.user, 'nobody@example.org']) {
          const since = performance.now();
          await ask(t, started, user, 'Not-This-One');
          const time = performance.now() - since;
          if (i > 0) best.set(user, Math.min(time, best.get(user) ?? time));
        }
      }
      const [known = 1, unknown = 0] = best.values();
      const ratio = unknown / known;
      t.ok(ratio > 0.5 && ratio < 2, `unknown ÷ known is ${ratio.toFixed(2)}`);
    });
  }

  for (const trouble of TROUBLES) {
    const how = contract.troubles?.[trouble];
    if (how === undefined) continue;
    t.test(`${contract.name}: unavailable, not wrong, when the peer is ${trouble}`, async (t) => {
      const started = await begin(t, { accounts: [ALICE], inHand: 10, timeout }, how);
      if (started.cause !== undefined) {
        await untilOk(t, started, 'before the trouble');
        await started.cause();
      }
      const since = Date.now();
      const outcomes = await within(
        'the answers',
        timeout + PATIENCE,
        Promise.all([
          ask(t, started, ALICE.user, ALICE.password),
          ask(t, started, ALICE.user, 'Never-Right'),
          ask(t, started, 'nobody@example.org', 'Never-Right'),
        ]),
      );
      for (const outcome of outcomes) t.equal(outcome.kind, 'unavailable', isWhy(outcome));
      if (trouble === 'hung') t.ok(Date.now() - since >= timeout * 0.8, 'it waited for its own timeout');
      await expect(t, started, [ALICE.user, ALICE.password], 'unavailable', 'and the next one');
      if (started.cure === undefined) return;
      await started.cure();
      await untilOk(t, started, 'after the trouble');
    });
  }

  t.test(`${contract.name}: close() lets everything go`, async (t) => {
    const started = await begin(t, ALL);
    await expect(t, started, [ALICE.user, ALICE.password], 'ok', 'open');
    const inHand = [1, 2, 3].map(() => ask(t, started, ALICE.user, ALICE.password));
    await within('close', PATIENCE, started.store.close());
    for (const outcome of await within('attempts in hand', PATIENCE, Promise.all(inHand)))
      t.not(outcome.kind, 'wrong', 'whoever was in hand is not told that the password is wrong');
    await expect(t, started, [ALICE.user, ALICE.password], 'unavailable', 'closed');
    const held = started.held;
    if (held !== undefined) {
      const end = Date.now() + PATIENCE;
      while ((await held()) > 0 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
      t.equal(await held(), 0, 'nothing is held of the peer');
    }
    await within('a second close', PATIENCE, started.store.close());
  });

  const hung = contract.troubles?.hung;
  if (hung !== undefined) {
    t.test(`${contract.name}: close() waits for no peer that hangs`, async (t) => {
      const started = await begin(t, { accounts: [ALICE], inHand: 10, timeout: 60_000 }, hung);
      await started.cause?.();
      const waiting = ask(t, started, ALICE.user, ALICE.password);
      await new Promise((resolve) => setTimeout(resolve, 50));
      await within('close', PATIENCE, started.store.close());
      t.equal((await within('the attempt in hand', PATIENCE, waiting)).kind, 'unavailable');
      await started.cure?.();
    });
  }
};
