/**
 * Dovecot's auth server as a credential store: over its UNIX socket or TCP, one connection for all attempts, made anew
 * when it is lost. A password goes as PLAIN; whole exchanges (CRAM-MD5, SCRAM, OAUTHBEARER…) are passed through.
 */
import {
  type Attempt,
  type CredentialStore,
  type Outcome,
  type Proof,
  type ProofKind,
  type RemoteExchange,
  unavailable,
  wrong,
} from '../credentials.js';
import { type AttemptOptions, Attempts } from './attempts.js';
import { orAborted } from './deadline.js';
import {
  DovecotLink,
  type LinkOwner,
  type LinkReply,
  type LinkRequest,
  type Mechanisms,
  TooLong,
} from './dovecot-link.js';
import type { Params } from './dovecot-wire.js';
import { type LoginNames, nameGiven } from './login-names.js';
import { PeerFault, type PeerTls, type Place, placeText, printable } from './peer.js';

export interface DovecotOptions extends AttemptOptions {
  readonly place: Place;
  readonly tls: PeerTls;
  readonly names: LoginNames;
  /** The server became unreachable, and reachable again. */
  readonly onChange?: (text: string) => void;
}

/** Milliseconds before a lost connection is made anew unasked, for the list of mechanisms. */
const RETRY = { first: 500, most: 30_000 } as const;

/** What Sekisho carries out itself (a password is sent on as PLAIN), or what would need facts of its TLS session. */
const OWN = /^(?:PLAIN|LOGIN|EXTERNAL|ANONYMOUS|.*-PLUS)$/;
const HIDDEN = ['private', 'anonymous', 'channel-binding'] as const;

/** Bearer tokens go over the wire as they are, though Dovecot does not mark them `plaintext`. */
const BEARER: ReadonlySet<string> = new Set(['OAUTHBEARER', 'XOAUTH2']);

const passedThrough = (mechanisms: Mechanisms): ReadonlySet<string> =>
  new Set(
    [...mechanisms]
      .filter(([name, flags]) => !OWN.test(name) && !HIDDEN.some((flag) => flags.has(flag)))
      .map(([name]) => name),
  );

const PASSWORD: ReadonlySet<ProofKind> = new Set<ProofKind>(['password']);
const NOTHING: ReadonlySet<ProofKind> = new Set<ProofKind>();

export class DovecotStore implements CredentialStore {
  readonly name: string;
  readonly #options: DovecotOptions;
  readonly #attempts: Attempts;
  #link: DovecotLink | undefined;
  #opening: Promise<DovecotLink> | undefined;
  readonly #retired = new Set<DovecotLink>();
  readonly #owner: LinkOwner = {
    retired: (link) => {
      this.#retired.add(link);
      this.#left(link);
    },
    ended: (link) => {
      this.#retired.delete(link);
      this.#left(link);
    },
  };
  #retry: NodeJS.Timeout | undefined;
  #delay: number = RETRY.first;
  #reported = false;
  /** As last heard; before that a password is taken for provable, so that a client hears 454 and not "no AUTH here". */
  #mechanisms: Mechanisms = new Map([['PLAIN', new Set<string>()]]);
  #remote: ReadonlySet<string> = new Set();

  constructor(options: DovecotOptions) {
    this.name = `dovecot ${placeText(options.place)}`;
    this.#options = options;
    this.#attempts = new Attempts(this.name, options);
    this.#later(0);
  }

  get proves(): ReadonlySet<ProofKind> {
    return this.#mechanisms.has('PLAIN') ? PASSWORD : NOTHING;
  }

  get remoteMechanisms(): ReadonlySet<string> {
    return this.#remote;
  }

  verify(proof: Proof, attempt: Attempt): Promise<Outcome> {
    return this.#attempts.judge(proof, async (signal) => {
      if (proof.kind !== 'password') return wrong(`${this.name} judges passwords only`);
      const link = await this.#connected(signal);
      const response = Buffer.from(`\0${proof.user}\0${proof.password}`);
      const request = link.request();
      const reply = await this.#reply(request, () => request.begin('PLAIN', attempt, response, signal));
      if (reply.kind !== 'challenge') return reply;
      request.cancel();
      return unavailable(`${this.name}: it asks for more than PLAIN has`);
    });
  }

  exchange(mechanism: string, attempt: Attempt): RemoteExchange {
    let request: LinkRequest | undefined;
    return {
      respond: (response) =>
        this.#attempts.run(async (signal) => {
          if (!this.#remote.has(mechanism)) return unavailable(`${this.name} does not do ${mechanism} now`);
          if (!attempt.secure && this.#needsTls(mechanism)) return wrong(`${mechanism} needs TLS`);
          if (request !== undefined) {
            const begun = request;
            return this.#reply(begun, () => begun.answer(response ?? Buffer.alloc(0), signal));
          }
          const fresh = (await this.#connected(signal)).request();
          request = fresh;
          return this.#reply(fresh, () => fresh.begin(mechanism, attempt, response, signal));
        }),
      cancel: () => request?.cancel(),
    };
  }

  async close(): Promise<void> {
    clearTimeout(this.#retry);
    const closed = this.#attempts.close();
    this.#link?.close();
    for (const link of this.#retired) link.close();
    await closed;
  }

  #needsTls(mechanism: string): boolean {
    return BEARER.has(mechanism) || this.#mechanisms.get(mechanism)?.has('plaintext') === true;
  }

  async #reply(
    request: LinkRequest,
    ask: () => Promise<LinkReply>,
  ): Promise<Outcome | { kind: 'challenge'; data: Buffer }> {
    try {
      const reply = await ask();
      if (reply.kind === 'continue') return { kind: 'challenge', data: reply.data };
      return reply.kind === 'ok' ? this.#accepted(reply.params) : this.#refused(reply.params);
    } catch (error) {
      request.cancel();
      if (error instanceof TooLong) return wrong(error.message);
      throw error;
    }
  }

  #accepted(params: Params): Outcome {
    // A passdb's `nologin` (and the like): the password is right, and the user may not come in (passdb extra fields).
    const barred = ['nologin', 'user_disabled', 'pass_expired'].find((each) => params.has(each));
    if (barred !== undefined)
      return wrong(`${this.name}: ${barred}: ${printable(params.get('reason') ?? '') || 'no reason given'}`);
    // Such an OK may say nothing at all of the password: the server behind is meant to judge it.
    if (params.has('proxy'))
      return unavailable(
        `${this.name}: it would pass this login on to another server; ask that one, by imap or pop3`,
      );
    const user = params.get('user');
    if (user === undefined) return unavailable(`${this.name}: it says OK and not to whom`);
    const name = nameGiven(user, this.#options.names);
    if (!name.ok) return unavailable(`${this.name}: ${name.error}`);
    return { kind: 'ok', login: { name: name.value } };
  }

  #refused(params: Params): Outcome {
    const code = params.get('code') ?? '';
    const is = (flag: string): boolean => params.has(flag) || code === flag;
    const reason = params.get('reason') ?? '';
    const texts = [...['user_disabled', 'pass_expired'].filter(is), printable(reason)].filter(
      (text) => text !== '',
    );
    if (is('temp') || is('temp_fail'))
      return unavailable(`${this.name}: temporary failure${texts.length > 0 ? `: ${texts.join(': ')}` : ''}`);
    return wrong(`${this.name}: ${texts.join(': ') || 'authentication failed'}`);
  }

  /** The connection, made if there is none. */
  async #connected(signal: AbortSignal): Promise<DovecotLink> {
    if (this.#link !== undefined) return this.#link;
    const joined = this.#opening !== undefined;
    try {
      return await orAborted(signal, this.#open());
    } catch (error) {
      // What somebody else began may have failed at once after a long wait of theirs.
      if (signal.aborted || !joined) throw error;
      return orAborted(signal, this.#open());
    }
  }

  #open(): Promise<DovecotLink> {
    this.#opening ??= this.#openAnew().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  async #openAnew(): Promise<DovecotLink> {
    clearTimeout(this.#retry);
    if (this.#attempts.closed) throw new PeerFault('it is closed');
    const { place, tls } = this.#options;
    try {
      const link = await this.#attempts.within((signal) => DovecotLink.open(place, tls, signal, this.#owner));
      if (this.#attempts.closed) {
        link.close();
        throw new PeerFault('it is closed');
      }
      this.#link = link;
      this.#mechanisms = link.mechanisms;
      this.#remote = passedThrough(link.mechanisms);
      this.#delay = RETRY.first;
      this.#report(undefined);
      return link;
    } catch (error) {
      this.#report(error instanceof Error ? error.message : 'unknown error');
      this.#later(this.#delay);
      this.#delay = Math.min(this.#delay * 2, RETRY.most);
      throw error;
    }
  }

  #left(link: DovecotLink): void {
    if (link !== this.#link) return;
    this.#link = undefined;
    this.#later(this.#delay);
  }

  #later(delay: number): void {
    clearTimeout(this.#retry);
    if (this.#attempts.closed) return;
    this.#retry = setTimeout(() => this.#open().catch(() => {}), delay);
    this.#retry.unref();
  }

  /** Once when it goes, once when it comes back. */
  #report(fault: string | undefined): void {
    const failed = fault !== undefined;
    if (failed === this.#reported || this.#attempts.closed) return;
    this.#reported = failed;
    this.#options.onChange?.(failed ? `${this.name}: ${fault}` : `${this.name} answers again`);
  }
}
