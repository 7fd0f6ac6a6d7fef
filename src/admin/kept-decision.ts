/**
 * A place in the ring of decisions. It is written over and over: objects that live for a thousand decisions and die then
 * are the dearest garbage there is, and mostly nobody looks. What is shown is made when somebody does.
 */
import type { Peer, SekishoEvent, VerdictKind } from '../base/events.js';
import type { ShadowVerdict } from '../policy/facts.js';
import type { Decision, Reply } from './decisions.js';

type DecisionEvent = Extract<SekishoEvent, { type: 'decision' }>;

const NO_SHADOWS: readonly ShadowVerdict[] = [];

export class KeptDecision {
  id = 0;
  session = '';
  to = '';
  /** Its reply may still come. */
  awaited = false;
  /** An earlier one of the same session whose reply may still come. */
  earlier: KeptDecision | undefined = undefined;
  #time = 0;
  #listener = '';
  #client = '';
  #clientName: string | undefined = undefined;
  #named: true | undefined = undefined;
  #helo: string | undefined = undefined;
  #protocol = '';
  #tls: string | undefined = undefined;
  #login: string | undefined = undefined;
  #certificate: Peer['certificate'] = undefined;
  #window: Decision['window'] = undefined;
  #from = '';
  #verdict: VerdictKind = 'deny';
  #rule: string | undefined = undefined;
  #reason = '';
  #enforced = true;
  #shadows = NO_SHADOWS;
  #windows: DecisionEvent['windows'] = undefined;
  #suspended: true | undefined = undefined;
  #result: Reply['result'] | undefined = undefined;
  #code = 0;
  #reply = '';

  /** What a policy said. `shadows` is kept, as are the other lists: nobody changes them. */
  judged(id: number, time: number, event: DecisionEvent, shadows = NO_SHADOWS): void {
    this.#begin(id, time, event.peer, event.from, event.to);
    this.#verdict = event.verdict;
    this.#rule = event.rule;
    this.#reason = event.reason;
    this.#enforced = event.enforced;
    this.#shadows = shadows;
    this.#windows = event.windows;
    this.#suspended = event.suspended;
  }

  /** Refused before any policy was asked. */
  refused(
    id: number,
    time: number,
    { peer, from, to }: { readonly peer: Peer; readonly from: string; readonly to: string },
    verdict: VerdictKind,
    reason: 'sender' | 'recipient',
  ): void {
    this.#begin(id, time, peer, from, to);
    this.#verdict = verdict;
    this.#rule = undefined;
    this.#reason = reason;
    this.#enforced = true;
    this.#shadows = NO_SHADOWS;
    this.#windows = undefined;
    this.#suspended = undefined;
  }

  replied(result: Reply['result'], code: number, reply: string): void {
    this.#result = result;
    this.#code = code;
    this.#reply = reply;
  }

  /** As it is now; what becomes of this place later changes nothing. */
  shown(): Decision {
    const certificate = this.#certificate;
    return {
      ...{ id: this.id, time: this.#time, session: this.session, listener: this.#listener },
      ...{ client: this.#client, clientName: this.#clientName, named: this.#named, helo: this.#helo },
      ...{ protocol: this.#protocol, tls: this.#tls, login: this.#login },
      ...(certificate && { certificate: certificate.fingerprint, certificateSubject: certificate.subject }),
      ...(this.#window && { window: { ...this.#window } }),
      ...{ from: this.#from, to: this.to, verdict: this.#verdict, rule: this.#rule, reason: this.#reason },
      ...{ enforced: this.#enforced, shadows: this.#shadows, windows: this.#windows },
      suspended: this.#suspended,
      ...(this.#result && { reply: { result: this.#result, code: this.#code, reply: this.#reply } }),
    };
  }

  #begin(id: number, time: number, peer: Peer, from: string, to: string): void {
    this.id = id;
    this.#time = time;
    this.session = peer.session;
    this.#listener = peer.listener;
    this.#client = peer.address;
    this.#clientName = peer.name;
    this.#named = peer.named;
    this.#helo = peer.helo;
    this.#protocol = peer.protocol;
    this.#tls = peer.tls;
    this.#login = peer.login;
    this.#certificate = peer.certificate;
    this.#window = peer.window;
    this.#from = from;
    this.to = to;
    this.#result = undefined;
  }
}
