/** The last hours in minutes, for the plots of the page: counts only, in bounded memory. Fed by events alone. */
import { hearing, type SekishoEvent } from '../base/events.js';

const MINUTE = 60_000;
/** 24 hours. */
export const HISTORY_MINUTES = 1_440;

/**
 * What is counted, each in recipients unless said otherwise. A refusal is counted under what refused it:
 * `relay`: no rule allows it. `rule`: a rule denies or defers it. `unknown`: a fact could not be known. `limit`: allowed,
 * but past the rule's limit. `address`: no rule was looked at. `server`: the policy allowed it, the mail server did not.
 */
export const HISTORY_SERIES = [
  'messages',
  'accepted',
  'relay',
  'rule',
  'unknown',
  'limit',
  'address',
  'server',
  /** Connections refused before a word was said. */
  'connections',
  'loginsFailed',
  'loginsOk',
  /** Verdicts of shadow rules that are not what the rules that count said. */
  'shadow',
  /** What `--observe` let pass against the policy. */
  'observed',
] as const;
export type HistorySeries = (typeof HISTORY_SERIES)[number];

export interface HistorySnapshot {
  /** Start of the first value, milliseconds since 1970. */
  readonly from: number;
  /** Milliseconds a value. */
  readonly step: number;
  /** Oldest first; the last one is still growing. */
  readonly series: Readonly<Record<HistorySeries, readonly number[]>>;
}

const HEARD = [
  ...(['message', 'recipient', 'sender-refused', 'connection-refused', 'auth'] as const),
  ...(['limit-exceeded', 'shadow', 'decision'] as const),
];

type Of<T extends SekishoEvent['type']> = Extract<SekishoEvent, { type: T }>;

export class History {
  readonly #now: () => number;
  readonly #minutes: number;
  readonly #counts: Readonly<Record<HistorySeries, Uint32Array>>;
  /** The minute, since 1970, up to which the counts are swept. */
  #minute: number;
  /** Recipients past a limit, whose reply is about to come. */
  #limited: string | undefined;

  constructor(now: () => number = Date.now, minutes = HISTORY_MINUTES) {
    this.#now = now;
    this.#minutes = minutes;
    this.#minute = Math.floor(now() / MINUTE);
    this.#counts = Object.fromEntries(
      HISTORY_SERIES.map((name) => [name, new Uint32Array(minutes)]),
    ) as Record<HistorySeries, Uint32Array>;
  }

  /** For the list of subscribers. */
  readonly note = hearing(HEARD, (event) => {
    switch (event.type) {
      case 'message':
        if (event.result === 'accepted') this.#add('messages');
        break;
      case 'recipient':
        this.#recipient(event);
        break;
      case 'sender-refused':
        this.#add('address');
        break;
      case 'connection-refused':
        this.#add('connections');
        break;
      case 'auth':
        this.#add(event.result === 'ok' ? 'loginsOk' : 'loginsFailed');
        break;
      case 'limit-exceeded':
        this.#limited = event.peer.session;
        break;
      case 'shadow':
        if (event.would !== event.verdict) this.#add('shadow');
        break;
      case 'decision':
        if (!event.enforced && event.verdict !== 'allow') this.#add('observed');
        break;
    }
  });

  /** The last `minutes`, or all there are. */
  snapshot(minutes = this.#minutes): HistorySnapshot {
    this.#sweep();
    const length = Math.max(1, Math.min(minutes, this.#minutes));
    const first = this.#minute - length + 1;
    const values = (counts: Uint32Array): number[] =>
      Array.from({ length }, (_, i) => counts[(first + i) % this.#minutes] ?? 0);
    return {
      from: first * MINUTE,
      step: MINUTE,
      series: Object.fromEntries(
        HISTORY_SERIES.map((name) => [name, values(this.#counts[name])]),
      ) as unknown as HistorySnapshot['series'],
    };
  }

  #recipient({ peer, result, verdict, reason }: Of<'recipient'>): void {
    const limited = this.#limited === peer.session;
    if (limited) this.#limited = undefined;
    if (result === 'accepted') this.#add('accepted');
    else if (verdict === undefined) this.#add('address');
    else if (verdict === 'allow') this.#add(limited ? 'limit' : 'server');
    else if (reason === 'unknown-fact') this.#add('unknown');
    else this.#add(reason === 'no-rule' ? 'relay' : 'rule');
  }

  #add(series: HistorySeries): void {
    this.#sweep();
    const counts = this.#counts[series];
    const at = this.#minute % this.#minutes;
    counts[at] = (counts[at] ?? 0) + 1;
  }

  /** Empties the minutes that have begun since the last look. A clock that was set back counts on where it was. */
  #sweep(): void {
    const minute = Math.floor(this.#now() / MINUTE);
    if (minute <= this.#minute) return;
    const first = Math.max(this.#minute + 1, minute - this.#minutes + 1);
    for (let each = first; each <= minute; each += 1)
      for (const name of HISTORY_SERIES) this.#counts[name][each % this.#minutes] = 0;
    this.#minute = minute;
  }
}
