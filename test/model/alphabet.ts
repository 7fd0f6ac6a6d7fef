/** Everything that can happen to a session in a given state of the world, hostile answers among it. */
import type { FramingFaultKind } from '../../src/base/events.js';
import { NO_CAPABILITIES } from '../../src/smtp/capabilities.js';
import { type Command, type CommandFault, DEFAULT_LENIENCY, parseCommand } from '../../src/smtp/command.js';
import { REPLIES, relayingDenied, senderNotOwned } from '../../src/smtp/reply.js';
import type { SessionEvent } from '../../src/smtp/session/events.js';
import type { SessionSettings } from '../../src/smtp/session/state.js';
import { SECRET, type World } from './world.js';

/** An event with the name by which a trace tells it. */
export interface Letter {
  readonly name: string;
  readonly event: SessionEvent;
}

/**
 * Every kind of event: the compiler asks for a new one here, and session.test.ts for a letter of each, so that none is
 * left out of the search. (New effects are asked for by `World implements Effects`.)
 */
export const KINDS_OF_EVENT: Readonly<Record<SessionEvent['type'], true>> = {
  open: true,
  command: true,
  'bad-command': true,
  'long-line': true,
  framing: true,
  verdict: true,
  'upstream-ready': true,
  'upstream-unavailable': true,
  'upstream-reply': true,
  'upstream-lost': true,
  'data-end': true,
  'data-refused': true,
  timeout: true,
  secured: true,
  'auth-line': true,
  'auth-line-too-long': true,
  'auth-step': true,
  'sender-verdict': true,
  'client-gone': true,
  shutdown: true,
};

const UTF8 = { ...NO_CAPABILITIES, esmtp: true, eightBitMime: true, dsn: true, smtpUtf8: true, size: 0 };
const PLAIN = { ...NO_CAPABILITIES, esmtp: true, eightBitMime: true, pipelining: true };

/** Limits are small, so that each is reached. */
const BASE: SessionSettings = {
  hostname: 'mail.local.example',
  capabilities: UTF8,
  keywords: ['PIPELINING'],
  secureKeywords: ['PIPELINING'],
  starttls: false,
  logins: false,
  requireLogin: false,
  messageBytes: 1_000,
  recipients: 2,
  errors: 2,
  commands: Number.POSITIVE_INFINITY,
  idleCommands: 2,
};

/** A kind of listener that makes a difference to the machine. */
interface Site {
  /** So that every state can be looked at within seconds. */
  readonly small: SessionSettings;
  readonly large: SessionSettings;
}

const site = (small: Partial<SessionSettings>, large: Partial<SessionSettings> = {}): Site => ({
  small: { ...BASE, ...small },
  large: { ...BASE, ...small, ...large },
});

const TLS = { starttls: true, logins: true, idleCommands: 3, errors: 1, recipients: 1 };
const MORE = { idleCommands: 4, errors: 2, recipients: 2 };

export const SITES: Readonly<Record<string, Site>> = {
  'a plain listener': site({}, { recipients: 3, errors: 3, idleCommands: 4 }),
  'TLS and logins': site(TLS, MORE),
  'a login is needed': site({ ...TLS, requireLogin: true }, MORE),
  'few commands': site({ commands: 4, errors: 9, idleCommands: 9, recipients: 1 }, { commands: 7 }),
};

const parse = (line: string): ReturnType<typeof parseCommand> => {
  const octets = Buffer.from(line, 'latin1');
  const options = { utf8: true, smtpUtf8Available: true, leniency: DEFAULT_LENIENCY };
  return parseCommand(octets, 0, octets.length, options);
};

const parsed = (line: string): Command => {
  const result = parse(line);
  if (!result.ok) throw new Error(`the alphabet is wrong: ${line}`);
  return result.value;
};

const LINES = [
  ...['EHLO c.example', 'HELO c.example', 'RSET', 'NOOP', 'QUIT', 'EXPN x', 'STARTTLS', 'DATA'],
  ...['MAIL FROM:<a@x.example>', 'MAIL FROM:<a@x.example> SIZE=2000', 'MAIL FROM:<a@x.example> SMTPUTF8'],
  ...['RCPT TO:<b@local.example>', 'RCPT TO:<y@victim.example> NOTIFY=NEVER', 'BDAT 10 LAST'],
  ...[`AUTH PLAIN ${SECRET}`, 'AUTH PLAIN', 'AUTH PLAIN abc', 'AUTH NONE'],
];

const COMMANDS: readonly Letter[] = LINES.flatMap((line) => {
  const command = parsed(line);
  const ahead = ['EHLO', 'MAIL', 'RCPT', 'DATA', 'AUTH', 'STARTTLS'].includes(command.verb) ? [true] : [];
  return [false, ...ahead].map((behind) => ({
    name: `client: ${line}${behind ? ' +more' : ''}`,
    event: { type: 'command', command, ahead: behind },
  })) as Letter[];
});

const faultOf = (line: string): CommandFault => {
  const result = parse(line);
  if (result.ok) throw new Error(`the alphabet is wrong: ${line}`);
  return result.error;
};

const KINDS: readonly FramingFaultKind[] = ['bare-lf', 'foreign-protocol'];

const BROKEN: readonly Letter[] = KINDS.map((kind) => ({
  name: `client: framing ${kind}`,
  event: { type: 'framing', kind },
}));

const IN_COMMAND: readonly Letter[] = [
  ...COMMANDS,
  ...BROKEN,
  { name: 'client: nonsense', event: { type: 'bad-command', fault: faultOf('WHAT') } },
  { name: 'client: GET /', event: { type: 'bad-command', fault: faultOf('GET / HTTP/1.1') } },
  { name: 'client: a long line', event: { type: 'long-line' } },
  { name: 'timer: idle', event: { type: 'timeout', reply: REPLIES.idleTimeout } },
];

const IN_AUTH: readonly Letter[] = [
  ...BROKEN,
  { name: 'client: response', event: { type: 'auth-line', text: SECRET, ahead: false } },
  { name: 'client: response +more', event: { type: 'auth-line', text: SECRET, ahead: true } },
  { name: 'client: *', event: { type: 'auth-line', text: '*', ahead: false } },
  { name: 'client: not base64', event: { type: 'auth-line', text: '!', ahead: false } },
  { name: 'client: a long response', event: { type: 'auth-line-too-long' } },
  { name: 'timer: idle', event: { type: 'timeout', reply: REPLIES.idleTimeout } },
];

const IN_DATA: readonly Letter[] = [
  ...BROKEN,
  { name: 'client: CRLF.CRLF', event: { type: 'data-end' } },
  { name: 'data: too big', event: { type: 'data-refused', reply: REPLIES.tooBig } },
  { name: 'timer: data', event: { type: 'timeout', reply: REPLIES.dataTimeout } },
];

const OPENING: readonly Letter[] = [true, false].map((ahead) => ({
  name: `open${ahead ? ' +more' : ''}`,
  event: { type: 'open', ahead, auth: [] },
}));

const ANYTIME: readonly Letter[] = [
  { name: 'client: gone', event: { type: 'client-gone' } },
  { name: 'shutdown', event: { type: 'shutdown' } },
];

const READY: readonly Letter[] = [
  ...[UTF8, PLAIN].flatMap((capabilities) =>
    [true, false].map((reused) => ({
      name: `upstream: ready${reused ? ' again' : ''}${capabilities.smtpUtf8 ? '' : ', without SMTPUTF8, with PIPELINING'}`,
      event: { type: 'upstream-ready', capabilities, reused },
    })),
  ),
  { name: 'upstream: down', event: { type: 'upstream-unavailable', busy: false } },
  { name: 'upstream: busy', event: { type: 'upstream-unavailable', busy: true } },
] as Letter[];

const LOST: readonly Letter[] = [true, false].map((deadline) => ({
  name: `upstream: ${deadline ? 'hung' : 'gone'}`,
  event: { type: 'upstream-lost', deadline },
}));

const SAID: readonly Letter[] = [220, 250, 354, 421, 451, 550].flatMap((code) =>
  (code === 354 ? [false, true] : [false]).map((ahead) => ({
    name: `upstream: ${code}${ahead ? ', the client has said more' : ''}`,
    event: { type: 'upstream-reply', reply: { code, enhanced: undefined, lines: ['text'] }, ahead },
  })),
) as Letter[];

const STEPS: readonly Letter[] = [
  { name: 'auth: challenge', event: { type: 'auth-step', step: { kind: 'challenge', text: 'VXNlcg==' } } },
  { name: 'auth: done', event: { type: 'auth-step', step: { kind: 'done', login: 'alice' } } },
  ...(['wrong', 'unavailable', 'malformed', 'locked'] as const).map((failure) => ({
    name: `auth: ${failure}`,
    event: { type: 'auth-step', step: { kind: 'failed', failure } },
  })),
] as Letter[];

const SECURED: readonly Letter[] = [['PLAIN'], []].map((auth) => ({
  name: `TLS in force${auth.length > 0 ? ', AUTH on offer' : ''}`,
  event: { type: 'secured', auth },
}));

const DENIED = relayingDenied('<y@victim.example>', false, 'test');
const BUSY = REPLIES.upstreamBusy;
const PERMIT = { permit: true } as const;
const NOT_OWNED = senderNotOwned('<a@x.example>', 'test');

/** Answers of the policy: to the question that is open, to another one, or to none. */
const verdicts = ({ state: { ticket, phase } }: World): Letter[] => {
  const out: Letter[] = [
    { name: 'policy: permit', event: { type: 'verdict', ticket, judgement: PERMIT } },
    { name: 'policy: sender fine', event: { type: 'sender-verdict', ticket, refusal: undefined } },
  ];
  if (phase !== 'judging') return out;
  for (const [reply, code] of [[DENIED, 550] as const, [BUSY, 451] as const]) {
    const judgement = { permit: false, reply } as const;
    out.push({ name: `policy: ${code}`, event: { type: 'verdict', ticket, judgement } });
  }
  out.push({
    name: 'policy: sender refused',
    event: { type: 'sender-verdict', ticket, refusal: NOT_OWNED },
  });
  for (const [other, which] of [[ticket - 1, 'an old'] as const, [ticket + 1, 'an unknown'] as const]) {
    out.push(
      {
        name: `policy: permit, ${which} ticket`,
        event: { type: 'verdict', ticket: other, judgement: PERMIT },
      },
      {
        name: `policy: sender fine, ${which} ticket`,
        event: { type: 'sender-verdict', ticket: other, refusal: undefined },
      },
    );
  }
  return out;
};

/** What may happen now. The client's octets are taken in certain phases only: the runner holds them back. */
export const lettersFor = (world: World): readonly Letter[] => {
  const { state, ghost } = world;
  if (ghost.closed) return [];
  if (state.phase === 'opening') return [...OPENING, ...ANYTIME];
  const client =
    state.phase === 'command'
      ? IN_COMMAND
      : state.phase === 'auth'
        ? IN_AUTH
        : state.phase === 'data' || state.phase === 'discard'
          ? IN_DATA
          : [];
  return [
    ...(state.clientGone ? [] : client),
    ...(state.clientGone ? ANYTIME.slice(1) : ANYTIME),
    ...verdicts(world),
    ...(ghost.link === 'acquiring' ? READY : []),
    // Unasked words too: the connection drops such a server before, but the machine must not rely on it.
    ...(ghost.link === 'held' ? [...LOST, ...SAID] : []),
    ...(ghost.authPending ? STEPS : []),
    ...(ghost.tlsPending ? SECURED : []),
  ];
};
