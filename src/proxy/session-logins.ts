/** SMTP AUTH of one session: what is on offer, the exchange in hand, and who has logged in. */
import type { Peer } from '../base/events.js';
import type { Ip } from '../base/ip.js';
import type { Authenticator, Channel, LoginExchange, LoginStep } from '../identity/authenticator.js';
import type { Attempt, CertificateIdentity, Login } from '../identity/credentials.js';
import { type SenderRule, senderAllowed } from '../policy/senders.js';
import { pathText } from '../smtp/address.js';
import type { Path } from '../smtp/path.js';
import { type Reply, senderNotOwned } from '../smtp/reply.js';
import type { AuthStep } from '../smtp/session/events.js';
import { windowKey } from '../windows/window.js';
import type { ChannelBindings } from './channel-bindings.js';
import type { Pool } from './pool.js';
import type { Service } from './service.js';

const NO_BINDINGS: ChannelBindings = new Map();

/** What a session must know to let somebody log in. */
interface LoginSetting {
  readonly authenticator: Authenticator;
  readonly hostname: string;
  /** The client may say passwords in clear text. */
  readonly plaintextAllowed: boolean;
  /** Somebody has logged in; `windows` may open one. */
  readonly onLogin: (login: Login) => void;
}

export interface SessionLoginsListener {
  /** Hears how the exchange in hand goes on, never synchronously. */
  readonly answer: (step: AuthStep) => void;
  /** Hears of faults of ours. */
  readonly broken: (error: unknown) => void;
}

const stepOf = (step: LoginStep): AuthStep => {
  switch (step.kind) {
    case 'challenge':
      return { kind: 'challenge', text: step.data.toString('base64') };
    case 'done':
      return { kind: 'done', login: step.login.name };
    case 'failed':
      return step;
  }
};

export class SessionLogins {
  readonly #setting: LoginSetting;
  readonly #peer: Peer;
  readonly #key: string;
  readonly #listener: SessionLoginsListener;
  #bindings = NO_BINDINGS;
  #certificate: CertificateIdentity | undefined;
  #secure = false;
  #attempts = 0;
  #exchange: LoginExchange | undefined;
  #login: Login | undefined;

  constructor(setting: LoginSetting, peer: Peer, client: Ip, listener: SessionLoginsListener) {
    this.#setting = setting;
    this.#peer = peer;
    this.#key = windowKey(client);
    this.#listener = listener;
  }

  /** The mechanisms that may be used now. */
  offered(): readonly string[] {
    return this.#setting.authenticator.offered(this.#channel);
  }

  /** TLS is in force: a login in clear text is forgotten (RFC 3207 4.2). */
  secured(bindings: ChannelBindings, certificate: CertificateIdentity | undefined): void {
    this.#secure = true;
    this.#bindings = bindings;
    // One that nobody vouches for is a fingerprint for policies and says nothing of who it is.
    this.#certificate = certificate?.subject === undefined ? undefined : certificate;
    this.#login = undefined;
    delete this.#peer.login;
  }

  begin(mechanism: string, initial: Buffer | undefined): void {
    const { authenticator } = this.#setting;
    this.#attempts += 1;
    const exchange = authenticator.begin(mechanism, this.#channel, this.#attempt, this.#peer, this.#key);
    this.#exchange = exchange;
    this.respond(initial);
  }

  respond(response: Buffer | undefined): void {
    const exchange = this.#exchange;
    if (exchange === undefined) return;
    exchange.respond(response).then((step) => {
      // An exchange that was given up answers nobody.
      if (this.#exchange !== exchange) return;
      if (step.kind !== 'challenge') this.#exchange = undefined;
      if (step.kind === 'done') this.#loggedIn(step.login);
      this.#listener.answer(stepOf(step));
    }, this.#listener.broken);
  }

  abandon(why: 'cancelled' | 'malformed' | 'gone'): void {
    this.#exchange?.abandon(why);
    this.#exchange = undefined;
  }

  /** The refusal of a sender that the login may not use. */
  senderRefusal(policy: { readonly senders: readonly SenderRule[] }, from: Path): Reply | undefined {
    if (this.#login === undefined) return undefined;
    const answer = senderAllowed(policy, this.#login, from);
    return answer.ok ? undefined : senderNotOwned(`<${pathText(from)}>`, answer.why);
  }

  #loggedIn(login: Login): void {
    this.#login = login;
    this.#peer.login = login.name;
    this.#setting.onLogin(login);
  }

  get #channel(): Channel {
    const { hostname, plaintextAllowed } = this.#setting;
    const sasl = { hostname, bindings: this.#bindings, certificate: this.#certificate };
    return { secure: this.#secure, plaintextAllowed, sasl };
  }

  get #attempt(): Attempt {
    const { listener, address, port, helo, session } = this.#peer;
    return {
      protocol: 'smtp',
      listener,
      client: address,
      clientPort: port,
      secure: this.#secure,
      helo,
      session,
      nth: this.#attempts,
    };
  }
}

/** Undefined: nobody can log in here. */
export const sessionLogins = (
  service: Service,
  pools: readonly Pool[],
  peer: Peer,
  client: Ip,
  listener: SessionLoginsListener,
): SessionLogins | undefined => {
  const { authenticator } = service;
  if (authenticator === undefined) return undefined;
  const setting = {
    authenticator,
    hostname: service.hostnameOf(pools),
    plaintextAllowed: service.devices.find(client)?.plaintextAuth === true,
    onLogin: ({ name }: Login) => service.onLogin?.(name, client),
  };
  return new SessionLogins(setting, peer, client, listener);
};
