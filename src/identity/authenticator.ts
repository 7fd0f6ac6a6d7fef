/**
 * Drives a login: the mechanism (identity/sasl) says what to ask for, the stores say whether it holds, the throttle
 * and the suspensions whether it may be tried at all. One exchange at a time for each session.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AuthResult, Note, Peer } from '../base/events.js';
import { type StateStore, StoreError } from '../windows/store.js';
import {
  type Attempt,
  type CredentialStore,
  type KeysOutcome,
  type Login,
  type Outcome,
  type Proof,
  type RemoteExchange,
  unavailable,
  wrong,
} from './credentials.js';
import { MECHANISMS, offered } from './sasl/index.js';
import type { SaslContext, SaslExchange, SaslMechanism, SaslStep } from './sasl/mechanism.js';
import { madeUpScramKeys } from './sasl/scram-keys.js';
import type { Throttle } from './throttle.js';

/** How an exchange goes on, for the session. */
export type LoginStep =
  | { readonly kind: 'challenge'; readonly data: Buffer }
  | { readonly kind: 'done'; readonly login: Login }
  | { readonly kind: 'failed'; readonly failure: 'wrong' | 'unavailable' | 'malformed' | 'locked' };

/** What of the connection decides which mechanisms may be used on it. */
export interface Channel {
  readonly secure: boolean;
  /** Passwords may be said in clear text: the client is in a network that was exempted by name. */
  readonly plaintextAllowed: boolean;
  readonly sasl: Omit<SaslContext, 'nonce' | 'time' | 'plusOffered'>;
}

export interface LoginExchange {
  /** The client's response, base64 removed; undefined at the start when there was none. Never rejects. */
  respond(response: Buffer | undefined): Promise<LoginStep>;
  /** The client cancelled, sent nonsense, or is gone. */
  abandon(why: 'cancelled' | 'malformed' | 'gone'): void;
}

/** What all exchanges share. */
export interface Logins {
  readonly stores: readonly CredentialStore[];
  readonly throttle: Throttle;
  readonly state: StateStore;
  readonly note: Note;
  readonly now: () => number;
  /** Makes up SCRAM keys for users who do not exist; the same over restarts, or changing salts would tell. */
  readonly secret: Buffer;
}

/** What was tried, so that the same guess is known again. */
const guessOf = (proof: Proof): string | undefined =>
  proof.kind === 'password' ? proof.password : proof.kind === 'token' ? proof.token : undefined;

/** Asks the stores in order: the first that knows decides; "cannot tell" stays so unless another says yes. */
const inOrder = async <T extends Outcome | KeysOutcome>(
  asked: readonly (() => Promise<T>)[],
): Promise<T | Extract<Outcome, { kind: 'wrong' | 'unavailable' }>> => {
  let open: Extract<Outcome, { kind: 'unavailable' }> | undefined;
  let last: Extract<Outcome, { kind: 'wrong' }> = wrong('no store knows such logins');
  for (const ask of asked) {
    const outcome = await ask();
    if (outcome.kind === 'unavailable') open ??= outcome;
    else if (outcome.kind === 'wrong') last = outcome;
    else return outcome;
  }
  return open ?? last;
};

/** Whether a login may be used just now. */
const standingOf = async (
  { state, note, now }: Logins,
  login: string,
): Promise<'good' | 'suspended' | 'unknown'> => {
  try {
    return (await state.marked('suspended', login, now())) === undefined ? 'good' : 'suspended';
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    note({ type: 'store-error', operation: error.operation, why: error.message });
    return 'unknown';
  }
};

export class Authenticator {
  readonly #logins: Logins;

  constructor(logins: Logins) {
    this.#logins = logins;
  }

  /** There are stores at all. */
  get available(): boolean {
    return this.#logins.stores.length > 0;
  }

  /** The mechanisms that may be used on a connection, the strongest first. */
  offered(channel: Channel): readonly string[] {
    return this.#mechanisms(channel).map(({ name }) => name);
  }

  /** Begins an exchange of a mechanism that is on offer. `key`: `windowKey` of the client's address. */
  begin(mechanism: string, channel: Channel, attempt: Attempt, peer: Peer, key: string): LoginExchange {
    const { stores } = this.#logins;
    const told = { peer, key, attempt, mechanism };
    const remote = stores.find((store) => store.remoteMechanisms?.has(mechanism) === true);
    const local = this.#mechanisms(channel).find(({ name }) => name === mechanism);
    const native = local !== undefined && stores.some(({ proves }) => proves.has(local.needs));
    if (!native && remote?.exchange !== undefined)
      return new Exchange(this.#logins, told, new RemoteDriver(remote.exchange(mechanism, attempt)));
    if (local === undefined) return new Exchange(this.#logins, told, NO_DRIVER);
    const context: SaslContext = {
      ...channel.sasl,
      nonce: randomBytes(18).toString('base64url'),
      time: this.#logins.now(),
      plusOffered: this.#mechanisms(channel).some(({ name }) => name.endsWith('-PLUS')),
    };
    return new Exchange(this.#logins, told, new LocalDriver(this.#logins, local.begin(context), attempt));
  }

  async close(): Promise<void> {
    await Promise.all(this.#logins.stores.map((store) => store.close()));
  }

  #mechanisms({ secure, plaintextAllowed, sasl }: Channel): readonly SaslMechanism[] {
    const { stores } = this.#logins;
    const remote = new Set(stores.flatMap((store) => [...(store.remoteMechanisms ?? [])]));
    const provable = new Set(stores.flatMap(({ proves }) => [...proves]));
    const passed = MECHANISMS.filter(({ name, requires }) => remote.has(name) && requires === undefined);
    for (const { needs } of passed) provable.add(needs);
    const bindings = sasl.bindings.size > 0;
    const certificate = sasl.certificate !== undefined;
    return offered({ secure, plaintextAllowed, provable, bindings, certificate }).filter(
      // What only another server can prove is offered for the very mechanisms that it names.
      ({ name, needs }) => remote.has(name) || stores.some(({ proves }) => proves.has(needs)),
    );
  }
}

/** One turn of an exchange: the stores have been asked already. */
type Turn =
  | { readonly kind: 'challenge'; readonly data: Buffer }
  | { readonly kind: 'done'; readonly login: Login }
  | {
      readonly kind: 'failed';
      readonly failure: 'wrong' | 'unavailable' | 'malformed' | 'locked';
      readonly why: string;
      readonly user?: string | undefined;
      readonly guess?: string | undefined;
    };

interface Driver {
  /** `refusal` is asked before a name is looked at. */
  turn(response: Buffer | undefined, refusal: (login: string) => Promise<string | undefined>): Promise<Turn>;
  cancel(): void;
  /** Whose name came up, if any. */
  readonly user: string | undefined;
  /** A proof was refused, and the mechanism has but its last words to say: giving up now is a failed login too. */
  readonly refused: boolean;
}

const NO_DRIVER: Driver = {
  turn: async () => ({ kind: 'failed', failure: 'unavailable', why: 'the mechanism is no longer available' }),
  cancel: () => {},
  user: undefined,
  refused: false,
};

/** An exchange that another server carries out. */
class RemoteDriver implements Driver {
  readonly user = undefined;
  readonly refused = false;
  readonly #remote: RemoteExchange;

  constructor(remote: RemoteExchange) {
    this.#remote = remote;
  }

  async turn(response: Buffer | undefined): Promise<Turn> {
    const answer = await this.#remote.respond(response);
    switch (answer.kind) {
      case 'challenge':
        return answer;
      case 'ok':
        return { kind: 'done', login: answer.login };
      default:
        return { kind: 'failed', failure: answer.kind, why: answer.why };
    }
  }

  cancel(): void {
    this.#remote.cancel();
  }
}

/** An exchange of Sekisho's own mechanisms. */
class LocalDriver implements Driver {
  readonly #logins: Logins;
  readonly #exchange: SaslExchange;
  readonly #attempt: Attempt;
  user: string | undefined;
  refused = false;
  #guess: string | undefined;

  constructor(logins: Logins, exchange: SaslExchange, attempt: Attempt) {
    this.#logins = logins;
    this.#exchange = exchange;
    this.#attempt = attempt;
  }

  async turn(
    response: Buffer | undefined,
    refusal: (login: string) => Promise<string | undefined>,
  ): Promise<Turn> {
    let step: SaslStep = this.#exchange.respond(response);
    for (;;) {
      if (step.kind === 'challenge' || step.kind === 'done') return step;
      if (step.kind === 'failed') {
        const { failure, why, user = this.user } = step;
        return { kind: 'failed', failure, why, user, guess: this.#guess };
      }
      this.user = step.kind === 'keys' ? step.user : step.proof.user;
      const locked = this.user === undefined ? undefined : await refusal(this.user);
      if (locked !== undefined) return { kind: 'failed', failure: 'locked', why: locked, user: this.user };
      step = step.kind === 'keys' ? await this.#keys(step.user) : await this.#verify(step.proof);
    }
  }

  cancel(): void {}

  async #verify(proof: Proof): Promise<SaslStep> {
    this.#guess = guessOf(proof);
    const able = this.#logins.stores.filter(({ proves }) => proves.has(proof.kind));
    const outcome = await inOrder(able.map((store) => () => store.verify(proof, this.#attempt)));
    this.refused = outcome.kind === 'wrong';
    return this.#exchange.outcome(outcome);
  }

  async #keys(user: string): Promise<SaslStep> {
    const able = this.#logins.stores.filter(({ proves }) => proves.has('scram-sha-256'));
    const none = unavailable('no SCRAM keys');
    const found = await inOrder<KeysOutcome>(
      able.map((store) => async () => (await store.scramKeys?.(user, this.#attempt)) ?? none),
    );
    if (found.kind === 'unavailable') return this.#exchange.outcome(found);
    // Names that differ in case alone must not be told from one another by their salts.
    if (found.kind === 'wrong')
      return this.#exchange.keys(madeUpScramKeys(this.#logins.secret, user.toLowerCase()), undefined);
    const standing = await standingOf(this.#logins, found.login.name);
    if (standing === 'unknown')
      return this.#exchange.outcome(unavailable('the store of suspensions is down'));
    // A suspended login must not learn from the server's signature that its password is still good.
    return this.#exchange.keys(found.keys, standing === 'suspended' ? undefined : found.login);
  }
}

interface Told {
  readonly peer: Peer;
  readonly key: string;
  readonly attempt: Attempt;
  readonly mechanism: string;
}

class Exchange implements LoginExchange {
  readonly #logins: Logins;
  readonly #told: Told;
  readonly #driver: Driver;
  #leave: () => void = () => {};
  #over = false;

  constructor(logins: Logins, told: Told, driver: Driver) {
    this.#logins = logins;
    this.#told = told;
    this.#driver = driver;
  }

  async respond(response: Buffer | undefined): Promise<LoginStep> {
    this.#leave = await this.#logins.throttle.enter(this.#told.key);
    try {
      return await this.#respond(response);
    } finally {
      this.#leave();
    }
  }

  async #respond(response: Buffer | undefined): Promise<LoginStep> {
    const { key } = this.#told;
    const { throttle } = this.#logins;
    const locked = await throttle.refusal(key);
    if (locked !== undefined) {
      this.#driver.cancel();
      return this.#fail({ kind: 'failed', failure: 'locked', why: locked });
    }
    const turn = await this.#driver.turn(response, (login) => throttle.refusal(key, login));
    if (turn.kind === 'challenge') return turn;
    return turn.kind === 'failed' ? this.#fail(turn) : this.#succeed(turn.login);
  }

  abandon(why: 'cancelled' | 'malformed' | 'gone'): void {
    if (this.#over) return;
    this.#driver.cancel();
    const { user, refused } = this.#driver;
    if (refused) {
      this.#tell('wrong', user, 'refused, and the client gave up');
      void this.#logins.throttle.failed(this.#told.key, user);
      return;
    }
    const text = why === 'gone' ? 'the client is gone' : why === 'cancelled' ? 'cancelled' : 'not base64';
    this.#tell(why === 'malformed' ? 'malformed' : 'cancelled', user, text);
  }

  /** A suspended login is told what everybody is told who is wrong, and as late. */
  async #succeed(login: Login): Promise<LoginStep> {
    const standing = await standingOf(this.#logins, login.name);
    if (standing === 'suspended') {
      this.#tell('suspended', login.name, 'the login is suspended');
      return this.#wrong(login.name, 'suspended');
    }
    if (standing === 'unknown') {
      const why = 'it is not known whether the login is suspended';
      return this.#fail({ kind: 'failed', failure: 'unavailable', why, user: login.name });
    }
    await this.#logins.throttle.succeeded(this.#told.key, login.name);
    this.#tell('ok', login.name, 'proven');
    return { kind: 'done', login };
  }

  async #fail({ failure, why, user, guess }: Extract<Turn, { kind: 'failed' }>): Promise<LoginStep> {
    this.#tell(failure, user, why);
    return failure === 'wrong' ? this.#wrong(user, guess) : { kind: 'failed', failure };
  }

  async #wrong(login: string | undefined, guess: string | undefined): Promise<LoginStep> {
    const delay = await this.#logins.throttle.failed(this.#told.key, login, guess);
    // It is counted: the next one need not wait for the delay of this one.
    this.#leave();
    if (delay > 0) await sleep(delay);
    return { kind: 'failed', failure: 'wrong' };
  }

  #tell(result: AuthResult, login: string | undefined, why: string): void {
    if (this.#over) return;
    this.#over = true;
    const { peer, mechanism, attempt } = this.#told;
    this.#logins.note({ type: 'auth', peer, protocol: attempt.protocol, mechanism, result, login, why });
  }
}
