/** A picture of a session for the live view, made when somebody looks. */

import { monotonic } from '../base/clock.js';
import type { Peer } from '../base/events.js';
import type { SessionSnapshot } from '../base/snapshot.js';
import { pathText } from '../smtp/address.js';
import type { SessionState } from '../smtp/session/state.js';

/** What of the picture neither the peer nor the session machine knows. */
interface Own {
  /** Milliseconds of the monotonic clock. */
  readonly openedAt: number;
  readonly messages: number;
  readonly upstream: string | undefined;
}

export const snapshotOf = (
  { session, listener, address, port, protocol, name, helo, tls, login, judged }: Peer,
  { phase, transaction, commands, errors }: SessionState,
  { openedAt, messages, upstream }: Own,
): SessionSnapshot => ({
  ...{ session, listener, address, port, protocol, commands, errors, messages },
  since: Date.now() - (monotonic() - openedAt),
  step: phase,
  recipients: transaction?.accepted.length ?? 0,
  ...(name === undefined ? {} : { name }),
  ...(helo === undefined ? {} : { helo }),
  ...(tls === undefined ? {} : { tls }),
  ...(login === undefined ? {} : { login }),
  ...(transaction === undefined ? {} : { from: pathText(transaction.from) }),
  ...(upstream === undefined ? {} : { upstream }),
  ...(judged === undefined ? {} : { verdict: judged.kind }),
  ...(judged?.rule === undefined ? {} : { rule: judged.rule }),
});
