/**
 * Either side dies at every step of a session. Never a false 250: what a client was told is accepted, the MTA
 * has; never a hang, and no connection is left over. The table of all faults is in fault-matrix.test.ts.
 */
import t from 'tap';
import {
  type LegacyAction,
  type LegacyMta,
  type LegacyOptions,
  type LegacyStep,
  startLegacyMta,
} from '../support/legacy-mta.js';
import { eventually, type Running, type Setting, startSekisho } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const SESSION = ['EHLO c.example', 'MAIL FROM:<a@b.example>', 'RCPT TO:<bob@local.example>', 'DATA'];
const MESSAGE = 'Subject: x\r\n\r\nHello\r\n.';

/** Says a whole mail; the codes of all replies, 0 for a connection that ended. */
const mail = async (client: SmtpClient, message = MESSAGE): Promise<number[]> => {
  const codes = [codeOf(await client.reply())];
  for (const line of SESSION) {
    codes.push(codeOf(await client.say(line)));
    if (codes.at(-1) === 0) return codes;
  }
  if (codes.at(-1) === 354) codes.push(codeOf(await client.say(message)));
  return codes;
};

const noLeaks = async (t: Tap.Test, { proxy }: Running, mta: LegacyMta): Promise<void> => {
  await eventually('no session left', () => proxy.sessions === 0);
  await eventually('no busy upstream connection', () =>
    [...proxy.figures.values()].every(({ busy, connecting, waiting }) => busy + connecting + waiting === 0),
  );
  const idle = [...proxy.figures.values()].reduce((sum, figures) => sum + figures.idle, 0);
  await eventually('the MTA sees only the pool', () => mta.active <= idle);
  t.pass('nothing leaked');
};

declare namespace Tap {
  type Test = typeof t;
}

const pair = async (
  t: Tap.Test,
  script: LegacyOptions['script'],
  setting: Partial<Setting> = {},
): Promise<{ mta: LegacyMta; sekisho: Running }> => {
  const mta = await startLegacyMta({ ehlo: ['8BITMIME'], ...(script === undefined ? {} : { script }) });
  const sekisho = await startSekisho({ upstreams: [{ port: mta.port }], ...setting });
  t.teardown(async () => {
    await sekisho.stop();
    await mta.close();
  });
  return { mta, sekisho };
};

const STEPS: readonly LegacyStep[] = ['connect', 'EHLO', 'MAIL', 'RCPT', 'DATA', 'body', 'dot'];
const ACTIONS: readonly [string, LegacyAction][] = [
  ['closes', { close: 'fin' }],
  ['resets', { close: 'rst' }],
  ['says nothing', { say: [] }],
  ['talks nonsense', { say: ['what?'] }],
  ['says 421', { say: ['421 4.3.2 going down'] }],
];

/** Deadlines that are waited for. */
const SHORT = {
  ...{ upstreamGreeting: 3_000, upstreamCommand: 3_000, upstreamMail: 3_000, upstreamRcpt: 3_000 },
  ...{ upstreamConnect: 3_000, upstreamData: 3_000, upstreamDataEnd: 3_000 },
};

for (const [what, action] of ACTIONS) {
  t.test(`the upstream ${what} at every step`, async (t) => {
    await Promise.all(
      STEPS.map(async (step) => {
        const name = `${step}: ${what}`;
        const { mta, sekisho } = await pair(
          t as unknown as Tap.Test,
          (at) => (at === step ? action : undefined),
          what === 'says nothing' ? { timeouts: SHORT } : {},
        );
        const client = await SmtpClient.connect(sekisho.port);
        const codes = await mail(client);
        const last = codes.at(-1) ?? 0;
        if (step === 'body' && what === 'says nothing')
          t.equal(last, 250, `${name}: nothing is what it should say`);
        else {
          t.ok(last >= 400 && last < 500, `${name}: ${codes.join(' ')} is no false 250 and no bounce`);
          const [event] = sekisho.of('message');
          if (step === 'dot')
            t.equal(event?.result, what === 'says 421' ? 'deferred' : 'unknown', `${name}: logged as it is`);
        }
        t.equal(codeOf(await client.say('NOOP')), 250, `${name}: the session goes on`);
        client.send('QUIT\r\n');
        await client.end();
        await noLeaks(t as unknown as Tap.Test, sekisho, mta);
      }),
    );
  });
}

t.test('the upstream says a reply too many', async (t) => {
  for (const step of ['MAIL', 'RCPT'] as const) {
    const { mta, sekisho } = await pair(t as unknown as Tap.Test, (at) =>
      at === step ? { say: ['250 ok', '250 surprise'] } : undefined,
    );
    const client = await SmtpClient.connect(sekisho.port);
    const codes = await mail(client);
    t.not(codes.at(-1), 250, `${step}: ${codes.join(' ')}`);
    t.equal(mta.messages.length, 0, 'no message on a connection out of step');
    client.destroy();
    await noLeaks(t as unknown as Tap.Test, sekisho, mta);
  }
});

t.test('a connection that died in the pool is replaced unnoticed', async (t) => {
  for (const how of ['fin', 'rst'] as const) {
    let first = true;
    const { mta, sekisho } = await pair(t as unknown as Tap.Test, (at) => {
      // The second MAIL on the first connection finds it dead.
      if (at !== 'MAIL' || mta.messages.length !== 1 || !first) return undefined;
      first = false;
      return { close: how };
    });
    for (let i = 0; i < 2; i += 1) {
      const client = await SmtpClient.connect(sekisho.port);
      t.equal((await mail(client)).at(-1), 250, `${how}: message ${i + 1}`);
      client.destroy();
    }
    t.equal(first, false, 'it did die');
    t.equal(mta.messages.length, 2);
    await noLeaks(t as unknown as Tap.Test, sekisho, mta);
  }
});

t.test('the client goes at every step', async (t) => {
  const moves = [...SESSION, 'Subject: x\r\n\r\nhalf a mess', 'age\r\n.\r\n'];
  for (let until = 0; until <= moves.length; until += 1) {
    for (const how of ['end', 'resetAndDestroy'] as const) {
      // The reply to the final dot comes when the client is gone.
      let dot = false;
      let answer = (): void => {};
      const answered = new Promise<undefined>((resolve) => {
        answer = () => resolve(undefined);
      });
      const { mta, sekisho } = await pair(t as unknown as Tap.Test, (at) => {
        dot ||= at === 'dot';
        return at === 'dot' ? answered : undefined;
      });
      const client = await SmtpClient.connect(sekisho.port);
      await client.reply();
      for (const move of moves.slice(0, until)) {
        if (SESSION.includes(move)) await client.say(move);
        else client.send(move);
      }
      const complete = until === moves.length;
      // An RST takes along what has not been read yet.
      if (complete) await eventually('the MTA has it all', () => dot);
      client.socket[how]();
      if (!complete) await eventually('the session ended', () => sekisho.of('disconnect').length === 1);
      answer();
      await eventually('the session is over', () => sekisho.of('disconnect').length === 1);
      t.equal(mta.messages.length, complete ? 1 : 0, `gone after ${until} moves (${how})`);
      const [message] = sekisho.of('message');
      if (complete)
        t.match(message, { result: 'accepted', reply: /AAA00001/ }, 'the reply was awaited and logged');
      else if (until > SESSION.length) t.equal(message?.result, 'aborted');
      await noLeaks(t as unknown as Tap.Test, sekisho, mta);
    }
  }
});
