/**
 * A store that tries a password at a server by logging in there (POP3, IMAP, SMTP AUTH), on a fresh connection for each
 * attempt. Such a server sees Sekisho's address, not the client's.
 */
import { type CredentialStore, type Outcome, type Proof, type ProofKind, wrong } from '../credentials.js';
import { type AttemptOptions, Attempts } from './attempts.js';
import { type LoginNames, nameLogin } from './login-names.js';
import { type PeerTls, placeText } from './peer.js';
import { Wire } from './wire.js';

export interface PasswordServerOptions extends AttemptOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: PeerTls;
  readonly names: LoginNames;
}

/** What a server says to a password, its login's name apart. */
export type Said = { readonly kind: 'ok' } | Exclude<Outcome, { kind: 'ok' }>;

/** Logs in over `wire`, from the greeting on. Says goodbye itself where it ended well; throws a `PeerFault`. */
export type Dialogue = (wire: Wire, user: string, password: string, tls: PeerTls) => Promise<Said>;

const PROVES: ReadonlySet<ProofKind> = new Set<ProofKind>(['password']);

export class PasswordServer implements CredentialStore {
  readonly proves = PROVES;
  readonly name: string;
  readonly #options: PasswordServerOptions;
  readonly #dialogue: Dialogue;
  readonly #attempts: Attempts;

  constructor(kind: string, options: PasswordServerOptions, dialogue: Dialogue) {
    this.name = `${kind} ${placeText(options)}`;
    this.#options = options;
    this.#dialogue = dialogue;
    this.#attempts = new Attempts(this.name, options);
  }

  verify(proof: Proof): Promise<Outcome> {
    return this.#attempts.judge(proof, async (signal): Promise<Outcome> => {
      if (proof.kind !== 'password') return wrong(`${this.name} judges passwords only`);
      const login = nameLogin(proof.user, this.#options.names);
      if (!login.ok) return wrong(login.error);
      const said = await this.#ask(login.value.asked, proof.password, signal);
      return said.kind === 'ok'
        ? { kind: 'ok', login: { name: login.value.known } }
        : { kind: said.kind, why: `${this.name}: ${said.why}` };
    });
  }

  close(): Promise<void> {
    return this.#attempts.close();
  }

  async #ask(user: string, password: string, signal: AbortSignal): Promise<Said> {
    const { tls } = this.#options;
    const wire = await Wire.open(this.#options, tls, signal);
    try {
      return await this.#dialogue(wire, user, password, tls);
    } finally {
      wire.end();
    }
  }
}

/** RFC 4616: no authorisation identity of its own. */
export const plainResponse = (user: string, password: string): string =>
  Buffer.from(`\0${user}\0${password}`).toString('base64');
