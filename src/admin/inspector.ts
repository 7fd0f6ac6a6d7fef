/** What the admin endpoint may see of the mail side, and the two things it may do there. */
import type { SessionSnapshot, UpstreamSnapshot } from '../base/snapshot.js';

export interface Place {
  readonly listener: string;
  readonly address: string;
  readonly port: number;
}

export interface Inspector {
  /** The sockets on which clients are taken in; none before the start and while it drains. */
  listening(): readonly Place[];
  /** Client sessions at present. */
  sessionCount(): number;
  /** At most `limit` of the sessions that `fits` wants, the oldest first. */
  sessions(limit: number, fits?: (session: SessionSnapshot) => boolean): readonly SessionSnapshot[];
  upstreams(): readonly UpstreamSnapshot[];
  /** Takes an upstream out of service for new transactions, or puts it back. False: there is none of that name. */
  drainUpstream(name: string, draining: boolean): boolean;
}
