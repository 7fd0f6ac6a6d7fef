/**
 * Who speaks next in an exchange. A mechanism is written as moves, each a step and what takes the answer to it; whoever
 * answers out of turn ends the exchange, and an exchange that has ended never says `done` again.
 */
import type { Login, Outcome, Proof, ScramKeys } from '../credentials.js';
import type { SaslExchange, SaslFailure, SaslStep } from './mechanism.js';

type Taker =
  | { readonly awaits: 'start'; take(response: Buffer | undefined): Move }
  | { readonly awaits: 'response'; take(response: Buffer): Move }
  | { readonly awaits: 'outcome'; take(outcome: Outcome): Move }
  | { readonly awaits: 'keys'; readonly user: string; take(keys: ScramKeys, login: Login | undefined): Move }
  | { readonly awaits: 'nothing' };

/** A step and who takes the answer to it. */
export interface Move {
  readonly step: SaslStep;
  readonly next: Taker;
}

const OVER: Taker = { awaits: 'nothing' };

/** `why` is for the log and never bears a secret. */
export const failed = (failure: SaslFailure, why: string, user?: string): Move => ({
  step: { kind: 'failed', failure, why, ...(user === undefined ? {} : { user }) },
  next: OVER,
});

export const done = (login: Login): Move => ({ step: { kind: 'done', login }, next: OVER });

export const challenge = (data: Buffer | string, take: (response: Buffer) => Move): Move => ({
  step: { kind: 'challenge', data: Buffer.from(data) },
  next: { awaits: 'response', take },
});

export const askKeys = (user: string, take: (keys: ScramKeys, login: Login | undefined) => Move): Move => ({
  step: { kind: 'keys', user },
  next: { awaits: 'keys', user, take },
});

/** The usual end: the store's word is the last one. */
const settle =
  (user: string | undefined) =>
  (outcome: Outcome): Move =>
    outcome.kind === 'ok' ? done(outcome.login) : failed(outcome.kind, outcome.why, user);

/** Asks for a judgement, which ends the exchange unless `take` has more to say. */
export const verify = (proof: Proof, take: (outcome: Outcome) => Move = settle(proof.user)): Move => ({
  step: { kind: 'verify', proof },
  next: { awaits: 'outcome', take },
});

/** For mechanisms in which the client speaks first: without an initial response it gets an empty challenge (RFC 4422 3). */
export const clientFirst =
  (take: (response: Buffer) => Move) =>
  (response: Buffer | undefined): Move =>
    response === undefined ? challenge('', take) : take(response);

class Turns implements SaslExchange {
  #next: Taker;

  constructor(start: (response: Buffer | undefined) => Move) {
    this.#next = { awaits: 'start', take: start };
  }

  respond(response: Buffer | undefined): SaslStep {
    const next = this.#next;
    if (next.awaits === 'start') return this.#go(next.take(response));
    if (next.awaits === 'response' && response !== undefined) return this.#go(next.take(response));
    return this.#outOfTurn('a response');
  }

  outcome(outcome: Outcome): SaslStep {
    const next = this.#next;
    if (next.awaits === 'outcome') return this.#go(next.take(outcome));
    // A store that was asked for keys may have none to give just now; its reason is better than ours.
    if (next.awaits === 'keys' && outcome.kind === 'unavailable') {
      return this.#go(failed('unavailable', outcome.why, next.user));
    }
    return this.#outOfTurn('a judgement');
  }

  keys(keys: ScramKeys, login: Login | undefined): SaslStep {
    const next = this.#next;
    return next.awaits === 'keys' ? this.#go(next.take(keys, login)) : this.#outOfTurn('keys');
  }

  #go({ step, next }: Move): SaslStep {
    this.#next = next;
    return step;
  }

  #outOfTurn(what: string): SaslStep {
    return this.#go(failed('unavailable', `${what} came out of turn in a SASL exchange`));
  }
}

export const exchange = (start: (response: Buffer | undefined) => Move): SaslExchange => new Turns(start);
