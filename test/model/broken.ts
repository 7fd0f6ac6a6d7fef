/** Session machines that are broken on purpose, one or more for each invariant: the search must catch them. */
import type { Effects, SessionEvent } from '../../src/smtp/session/events.js';
import { step } from '../../src/smtp/session/machine.js';
import type { SessionState } from '../../src/smtp/session/state.js';
import type { Step } from './explore.js';
import type { Invariant } from './world.js';

export interface Broken {
  readonly what: string;
  readonly breaks: Invariant;
  /** The listener on which it shows. */
  readonly site: string;
  readonly step: Step;
}

const PLAIN = 'a plain listener';
const LOGINS = 'TLS and logins';

/** The same effects but for those given. */
const but = (out: Effects, changed: Partial<Effects>): Effects => {
  const bound = new Proxy(out, {
    get: (target, name) => {
      const own: unknown = Reflect.get(changed, name);
      const value: unknown = own ?? Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(own === undefined ? target : changed) : value;
    },
  });
  return bound;
};

/** A machine whose effects are changed. */
const effects =
  (change: (out: Effects, state: SessionState, event: SessionEvent) => Partial<Effects>): Step =>
  (state, event, out) =>
    step(state, event, but(out, change(out, state, event)));

/** A machine that hears something else than was said. */
const hears =
  (change: (event: SessionEvent, state: SessionState, out: Effects) => SessionEvent | undefined): Step =>
  (state, event, out) => {
    const heard = change(event, state, out);
    if (heard !== undefined) step(state, heard, out);
  };

const OK = { code: 250, enhanced: '2.0.0', lines: ['ok'] };

export const BROKEN: readonly Broken[] = [
  {
    what: 'takes an MTA that is lost after the final dot for one that said 250',
    breaks: 'only the MTA accepts',
    site: PLAIN,
    step: hears((event, { expected }) =>
      event.type === 'upstream-lost' && expected[0] === 'end'
        ? { type: 'upstream-reply', reply: OK, ahead: false }
        : event,
    ),
  },
  {
    what: 'answers the final dot before the MTA has',
    breaks: 'only the MTA accepts',
    site: PLAIN,
    step: effects((out) => ({
      endData: () => {
        out.endData();
        out.reply(OK);
      },
    })),
  },
  {
    what: 'says 451 where the MTA has said 250',
    breaks: 'nothing accepted is denied',
    site: PLAIN,
    step: hears((event, { expected }) =>
      event.type === 'upstream-reply' && expected[0] === 'end'
        ? { ...event, reply: { ...OK, code: 451 } }
        : event,
    ),
  },
  {
    what: 'prints the recipient that came before',
    breaks: 'judged is sent',
    site: PLAIN,
    step: effects((out, { transaction }) => ({
      forward: (command) =>
        out.forward(
          command.verb === 'RCPT' ? { ...command, path: transaction?.accepted[0] ?? command.path } : command,
        ),
    })),
  },
  {
    what: 'passes on parameters of its own',
    breaks: 'judged is sent',
    site: PLAIN,
    step: effects((out) => ({
      forward: (command) =>
        out.forward(
          command.verb === 'MAIL' ? { ...command, params: [{ keyword: 'BODY', value: '7BIT' }] } : command,
        ),
    })),
  },
  {
    what: 'judges the first recipient only',
    breaks: 'each recipient by itself',
    site: PLAIN,
    step: hears((event, { transaction }) =>
      event.type === 'verdict' && (transaction?.accepted.length ?? 0) > 0
        ? { ...event, judgement: { permit: true } }
        : event,
    ),
  },
  {
    what: 'takes an old answer of the policy for the new one',
    breaks: 'each recipient by itself',
    site: PLAIN,
    step: hears((event, { ticket }) => (event.type === 'verdict' ? { ...event, ticket } : event)),
  },
  {
    what: 'ends a message that a client left unfinished',
    breaks: 'no end without the client',
    site: PLAIN,
    step: hears((event, { phase }, out) => {
      if (event.type === 'client-gone' && phase === 'data') out.endData();
      return event;
    }),
  },
  {
    what: 'answers broken framing and carries on',
    breaks: 'framing ends the session',
    site: PLAIN,
    step: hears((event, { phase }) =>
      event.type === 'framing' && phase === 'command' ? { type: 'long-line' } : event,
    ),
  },
  {
    what: 'takes what a client sent behind DATA',
    breaks: 'framing ends the session',
    site: PLAIN,
    step: hears((event) => ('ahead' in event ? { ...event, ahead: false } : event)),
  },
  {
    what: 'swallows a reply',
    breaks: 'one reply for one command',
    site: PLAIN,
    step: effects((out, { errors }) => ({ reply: (reply) => errors === 0 && out.reply(reply) })),
  },
  {
    what: 'says a reply twice',
    breaks: 'one reply for one command',
    site: PLAIN,
    step: effects((out, _state, event) => ({
      reply: (reply) => {
        out.reply(reply);
        if (event.type === 'command' && event.command.verb === 'NOOP') out.reply(reply);
      },
    })),
  },
  {
    what: 'overhears what an upstream says unasked',
    breaks: 'out of step is dropped',
    site: PLAIN,
    step: hears((event, { expected }) =>
      event.type === 'upstream-reply' && expected.length === 0 ? undefined : event,
    ),
  },
  {
    what: 'remembers EHLO under TLS',
    breaks: 'STARTTLS forgets',
    site: LOGINS,
    step: (state, event, out) => {
      const { hello } = state;
      step(state, event, out);
      if (event.type === 'secured' && hello !== undefined) state.hello = hello;
    },
  },
  {
    what: 'keeps the transaction through STARTTLS',
    breaks: 'STARTTLS forgets',
    site: LOGINS,
    step: (state, event, out) => {
      const { transaction } = state;
      step(state, event, out);
      if (event.type === 'command' && event.command.verb === 'STARTTLS') state.transaction = transaction;
    },
  },
  {
    what: 'sends RCPT in one segment with MAIL',
    breaks: 'lock-step',
    site: PLAIN,
    step: effects((out, { transaction }) => ({
      forward: (command) => {
        out.forward(command);
        const pending = transaction?.pending;
        if (command.verb === 'MAIL' && pending !== undefined)
          out.forward({ verb: 'RCPT', path: pending.path, params: [] });
      },
    })),
  },
  {
    what: 'lets the client’s data go before the upstream’s 354',
    breaks: 'lock-step',
    site: PLAIN,
    step: effects((out) => ({
      forward: (command) => {
        out.forward(command);
        if (command.verb === 'DATA') out.data('forward');
      },
    })),
  },
  {
    what: 'gives a connection back on which a reply is owed',
    breaks: 'only what is quiet is shared',
    site: PLAIN,
    step: effects((out) => ({ release: () => out.release('reuse') })),
  },
  {
    what: 'lets a login use any sender',
    breaks: 'login first',
    site: LOGINS,
    step: hears((event) => (event.type === 'sender-verdict' ? { ...event, refusal: undefined } : event)),
  },
  {
    what: 'takes a failed login for one',
    breaks: 'login first',
    site: LOGINS,
    step: hears((event) =>
      event.type === 'auth-step' && event.step.kind === 'failed'
        ? { ...event, step: { kind: 'done', login: 'alice' } }
        : event,
    ),
  },
  {
    what: 'repeats in a reply what it could not read in an exchange',
    breaks: 'secrets stay secret',
    site: LOGINS,
    step: effects((out, _state, event) => ({
      reply: (reply) =>
        out.reply(event.type === 'auth-line' ? { ...reply, lines: [`${event.text}?`] } : reply),
    })),
  },
  {
    what: 'does not give connections back',
    breaks: 'nothing leaks',
    site: PLAIN,
    step: effects(() => ({ release: () => undefined })),
  },
  {
    what: 'leaves an exchange when the client goes',
    breaks: 'nothing leaks',
    site: LOGINS,
    step: effects(() => ({ authAbandon: () => undefined })),
  },
  {
    what: 'tells nothing of a message that was broken off',
    breaks: 'each end is told once',
    site: PLAIN,
    step: effects((out) => ({
      message: (result, reply) => result !== 'aborted' && out.message(result, reply),
    })),
  },
  {
    what: 'tells nothing of a recipient that was refused',
    breaks: 'each end is told once',
    site: PLAIN,
    step: effects((out) => ({ recipient: (to, reply) => reply.code < 500 && out.recipient(to, reply) })),
  },
  {
    what: 'waits for a verdict that it did not ask for',
    breaks: 'always going on',
    site: PLAIN,
    step: effects(() => ({ ask: () => undefined })),
  },
  {
    what: 'sees no shutdown at the end of a transaction',
    breaks: 'always going on',
    site: PLAIN,
    step: (state, event, out) => {
      const { draining } = state;
      if (event.type === 'command') state.draining = false;
      step(state, event, out);
      state.draining = draining || event.type === 'shutdown';
    },
  },
];
