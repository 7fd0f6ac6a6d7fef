/** Plain pictures of what lives elsewhere, made on demand: whoever looks never holds a session or a pool. */
import type { VerdictKind } from './events.js';

export interface SessionSnapshot {
  readonly session: string;
  readonly listener: string;
  readonly address: string;
  readonly port: number;
  readonly protocol: string;
  /** Milliseconds since 1970. */
  readonly since: number;
  /** Where in the dialogue it is, such as `command` or `data`. */
  readonly step: string;
  readonly name?: string;
  readonly helo?: string;
  readonly tls?: string;
  readonly login?: string;
  /** Of the transaction in hand. */
  readonly from?: string;
  /** Recipients of the transaction in hand that the upstream accepted. */
  readonly recipients: number;
  /** The upstream that the transaction in hand holds a connection to. */
  readonly upstream?: string;
  readonly commands: number;
  readonly errors: number;
  readonly messages: number;
  /** What was decided about the last recipient, and by which rule. */
  readonly verdict?: VerdictKind;
  readonly rule?: string;
}

export interface UpstreamSnapshot {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** Absent until first tried. */
  readonly up?: boolean;
  /** Takes no new transactions, by hand. */
  readonly draining: boolean;
  /** What it called itself last. */
  readonly hostname?: string;
  /** Why it is down. */
  readonly reason?: string;
  readonly connecting: number;
  readonly busy: number;
  readonly idle: number;
  readonly waiting: number;
  readonly maxConnections: number;
}
