/** What the events add up to. The names are those of the field's conventions; README of deploy/prometheus lists them. */
import type { Registry } from 'prom-client';
import type { FramingFaultKind, Note, SekishoEvent } from '../base/events.js';
import { WINDOW_SOURCES } from '../windows/window.js';
import { type Cell, CellCounter, type Tally, TallyHistogram } from './instruments.js';

/** Reply codes that have a series of their own; an upstream may say any other, and then its class counts. */
const CODES: ReadonlySet<number> = new Set([
  ...[211, 214, 220, 221, 235, 250, 251, 252, 334, 354],
  ...[421, 432, 450, 451, 452, 453, 454, 455, 458, 459],
  ...[500, 501, 502, 503, 504, 521, 523, 530, 534, 535, 538, 550, 551, 552, 553, 554, 555, 556],
]);

const codeLabel = (code: number): number | string => (CODES.has(code) ? code : `${Math.trunc(code / 100)}xx`);

export const counters = (registry: Registry) => {
  const counter = (name: string, help: string, ...labelNames: string[]): CellCounter =>
    new CellCounter({ name, help, labelNames }, registry);
  const histogram = (name: string, help: string, ...labelNames: string[]): TallyHistogram =>
    new TallyHistogram({ name, help, labelNames }, registry);
  return {
    connections: counter('sekisho_connections_total', 'Client connections taken in.', 'listener'),
    refused: counter(
      'sekisho_connections_refused_total',
      'Client connections refused before a session began, by reason.',
      'reason',
    ),
    sessionsClosed: counter(
      'sekisho_sessions_closed_total',
      'Client sessions that ended, by reason.',
      'reason',
    ),
    sessionDuration: histogram('sekisho_session_duration_seconds', 'How long client sessions lasted.'),
    commands: counter(
      'sekisho_commands_total',
      'Commands of clients by verb and by the code of the reply.',
      'verb',
      'code',
    ),
    commandDuration: histogram(
      'sekisho_command_duration_seconds',
      'Time from the first octet of a command to its reply, by verb.',
      'verb',
    ),
    decisions: counter(
      'sekisho_relay_decisions_total',
      'Verdicts on recipients, by the rule that decided (empty: none matched) and the reason.',
      'verdict',
      'rule',
      'reason',
    ),
    unenforced: counter(
      'sekisho_relay_unenforced_total',
      'Recipients that the policy would not have let pass and --observe did, by verdict.',
      'verdict',
    ),
    shadow: counter(
      'sekisho_shadow_disagreements_total',
      'Recipients on which a shadow rule would have decided otherwise than the policy did.',
      'rule',
    ),
    messages: counter(
      'sekisho_messages_total',
      'Messages by what became of them; unknown: the mail server did not answer the final dot in time.',
      'result',
    ),
    messageBytes: counter('sekisho_message_bytes_total', 'Octets of message data received from clients.'),
    recipients: counter('sekisho_recipients_total', 'Recipients by what became of them.', 'result'),
    auth: counter(
      'sekisho_auth_attempts_total',
      'Attempts to log in by mechanism and result.',
      'mechanism',
      'result',
    ),
    windowsOpened: counter(
      'sekisho_windows_opened_total',
      'Windows opened, renewals not counted, by what opened them.',
      'source',
    ),
    limits: counter(
      'sekisho_limit_exceeded_total',
      'Limits that were exceeded, by the name of the limit or of the rule that bears it.',
      'limit',
    ),
    shield: counter(
      'sekisho_shield_hits_total',
      'Messages in which a virtual patch found something, those in shadow too.',
      'patch',
    ),
    framing: counter('sekisho_framing_faults_total', 'Faults of framing by kind.', 'kind'),
    tls: counter(
      'sekisho_tls_handshakes_total',
      'TLS handshakes with clients, by the version that was agreed upon (none: it failed) and by result.',
      'version',
      'result',
    ),
    upstreamConnect: histogram(
      'sekisho_upstream_connect_duration_seconds',
      'Time from connecting to an upstream until it could take a transaction.',
    ),
    upstreamReuse: counter(
      'sekisho_upstream_reuse_total',
      'Transactions that got a connection to an upstream which others had used before.',
    ),
    upstreamFaults: counter(
      'sekisho_upstream_faults_total',
      'Connections to an upstream that broke or were broken off for a fault of the upstream.',
      'upstream',
    ),
    bans: counter('sekisho_bans_total', 'Addresses that were banned.'),
    greylist: counter(
      'sekisho_greylist_total',
      'Recipients that were greylisted, by result; familiar: the network has come again often enough.',
      'result',
    ),
    tarpit: counter(
      'sekisho_tarpit_total',
      'Refusals that were held back (held), or were not because too many are being held back (full).',
      'result',
    ),
    dnsbl: counter('sekisho_dnsbl_lookups_total', 'Look-ups in DNS blocklists by result.', 'list', 'result'),
    storeErrors: counter(
      'sekisho_store_errors_total',
      'Times that a store of state or of credentials could not answer, by operation.',
      'operation',
    ),
    internalErrors: counter(
      'sekisho_internal_errors_total',
      'Errors of Sekisho itself that ended a session.',
    ),
  };
};

export type Counters = ReturnType<typeof counters>;

const FRAMING_FAULTS: readonly FramingFaultKind[] = [
  ...(['bare-cr', 'bare-lf', 'nul', 'line-too-long', 'data-line-too-long', 'eight-bit'] as const),
  ...(['pipelining', 'pregreet', 'foreign-protocol', 'bdat'] as const),
];

/** Begins series at zero, so that the first of its kind is seen as an increase. */
export const beginAtZero = (
  all: Counters,
  listeners: readonly string[],
  upstreams: readonly string[],
): void => {
  const begin = (counter: CellCounter, words: readonly string[]): void => {
    for (const word of words) counter.cell(word);
  };
  begin(all.connections, listeners);
  begin(all.upstreamFaults, upstreams);
  begin(all.refused, [
    'total',
    'per-address',
    'shutdown',
    'descriptors',
    'banned',
    'quota',
    'proxy-header',
    'destination',
  ]);
  begin(all.messages, ['accepted', 'rejected', 'deferred', 'aborted', 'unknown']);
  begin(all.recipients, ['accepted', 'rejected', 'deferred']);
  begin(all.greylist, ['deferred', 'passed', 'familiar']);
  begin(all.tarpit, ['held', 'full']);
  begin(all.unenforced, ['deny', 'defer']);
  begin(all.windowsOpened, WINDOW_SOURCES);
  begin(all.storeErrors, ['open', 'lookup', 'spend', 'close', 'list', 'mark', 'count', 'connect']);
  begin(all.framing, FRAMING_FAULTS);
  all.decisions.cell('deny', '', 'no-rule');
};

/** What the commands of a verb add up to, by code: half of all events are commands. */
interface CommandCounts {
  readonly codes: Map<number, Cell>;
  readonly duration: Tally;
}

/** Counts what events tell. It does not look at who and what, but at words of closed sets. */
export const countEvents = (all: Counters): Note => {
  const bytes = all.messageBytes.cell();
  const reuse = all.upstreamReuse.cell();
  const sessions = all.sessionDuration.tally();
  const connects = all.upstreamConnect.tally();
  const decided = (event: Extract<SekishoEvent, { type: 'decision' }>): void => {
    const { verdict, rule = '', reason, enforced } = event;
    all.decisions.cell(verdict, rule, reason).value += 1;
    if (!enforced && verdict !== 'allow') all.unenforced.cell(verdict).value += 1;
  };
  const commands = new Map<string, CommandCounts>();
  const countsOf = (verb: string): CommandCounts => {
    const found = commands.get(verb) ?? { codes: new Map(), duration: all.commandDuration.tally(verb) };
    commands.set(verb, found);
    return found;
  };
  const commanded = ({ verb, code, seconds }: Extract<SekishoEvent, { type: 'command' }>): void => {
    const { codes, duration } = commands.get(verb) ?? countsOf(verb);
    let cell = codes.get(code);
    if (cell === undefined) {
      cell = all.commands.cell(verb, codeLabel(code));
      codes.set(code, cell);
    }
    cell.value += 1;
    duration.observe(seconds);
  };
  return (event) => {
    switch (event.type) {
      case 'command':
        return commanded(event);
      case 'decision':
        return decided(event);
      case 'recipient':
        all.recipients.cell(event.result).value += 1;
        return;
      case 'message':
        all.messages.cell(event.result).value += 1;
        bytes.value += event.bytes;
        return;
      case 'upstream-reuse':
        reuse.value += 1;
        return;
      case 'upstream-connect':
        return connects.observe(event.seconds);
      case 'connect':
        all.connections.cell(event.peer.listener).value += 1;
        return;
      case 'disconnect':
        all.sessionsClosed.cell(event.reason).value += 1;
        return sessions.observe(event.seconds);
      case 'connection-refused':
        all.refused.cell(event.reason).value += 1;
        return;
      case 'shadow':
        if (event.would !== event.verdict) all.shadow.cell(event.rule).value += 1;
        return;
      case 'auth':
        all.auth.cell(event.mechanism, event.result).value += 1;
        return;
      case 'tls-handshake':
        all.tls.cell(event.version ?? 'none', event.result).value += 1;
        return;
      case 'window-opened':
        if (!event.renewed) all.windowsOpened.cell(event.source).value += 1;
        return;
      case 'framing-fault':
        all.framing.cell(event.kind).value += 1;
        return;
      case 'limit-exceeded':
        all.limits.cell(event.limit).value += 1;
        return;
      case 'shield-hit':
        all.shield.cell(event.patch).value += 1;
        return;
      case 'banned':
        all.bans.cell().value += 1;
        return;
      case 'greylist':
        all.greylist.cell(event.result).value += 1;
        return;
      case 'tarpit':
        all.tarpit.cell(event.result).value += 1;
        return;
      case 'dnsbl-lookup':
        all.dnsbl.cell(event.list, event.result).value += 1;
        return;
      case 'upstream-fault':
        all.upstreamFaults.cell(event.upstream).value += 1;
        return;
      case 'store-error':
        all.storeErrors.cell(event.operation).value += 1;
        return;
      case 'internal-error':
        all.internalErrors.cell().value += 1;
        return;
      default:
        return;
    }
  };
};
