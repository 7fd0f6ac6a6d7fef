/**
 * What every credential store owes its callers, in one place: it never rejects, has a bound on attempts in hand, looks
 * at no proof that cannot be one, and lets no secret into `why`.
 */
import { type Outcome, type Proof, unavailable, wrong } from '../credentials.js';
import { proofFault } from '../proof-fault.js';

/** Characters of a `why`; what a server said may be longer. */
const WHY = 300;

/** All forms in which a proof's secret might turn up in a text. Very short ones are in every text by chance. */
const secretsOf = (proof: Proof): string[] => {
  const secret = proof.kind === 'password' ? proof.password : proof.kind === 'token' ? proof.token : '';
  if (secret.length < 4) return [];
  return [
    secret,
    encodeURIComponent(secret.replace(/\p{Surrogate}/gu, '')),
    Buffer.from(secret).toString('base64'),
  ];
};

const withoutSecrets = (outcome: Outcome, proof: Proof | undefined): Outcome => {
  if (outcome.kind === 'ok') return outcome;
  const secrets = proof === undefined ? [] : secretsOf(proof);
  const why = secrets.some((secret) => outcome.why.includes(secret))
    ? 'the reason repeated the secret and is withheld'
    : outcome.why.slice(0, WHY);
  return { kind: outcome.kind, why };
};

const textOf = (error: unknown): string => (error instanceof Error ? error.message : 'unknown error');

export class Guard {
  readonly #name: string;
  readonly #most: number;
  #inHand = 0;
  #closed = false;
  #idle: (() => void) | undefined;

  /** `name` is the store's, for `why`; `most`: attempts in hand at once, from 1. */
  constructor(name: string, most: number) {
    this.#name = name;
    this.#most = most;
  }

  get inHand(): number {
    return this.#inHand;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Why no further attempt is taken just now, or undefined. For methods that do not go by `judge`. */
  refusal(): Extract<Outcome, { kind: 'unavailable' }> | undefined {
    if (this.#closed) return unavailable(`${this.#name} is closed`);
    return this.#inHand >= this.#most
      ? unavailable(`${this.#name} is busy: ${this.#most} attempts in hand`)
      : undefined;
  }

  /** Counts `work` as an attempt in hand, come what may. Whatever it throws becomes `unavailable`. */
  async run<T>(
    work: () => Promise<T>,
    proof?: Proof,
  ): Promise<T | Extract<Outcome, { kind: 'unavailable' }>> {
    const refused = this.refusal();
    if (refused !== undefined) return refused;
    this.#inHand += 1;
    try {
      return await work();
    } catch (error) {
      const fault = withoutSecrets(unavailable(`${this.#name}: ${textOf(error)}`), proof);
      return unavailable(fault.kind === 'ok' ? '' : fault.why);
    } finally {
      this.#inHand -= 1;
      if (this.#inHand === 0) this.#idle?.();
    }
  }

  /** Judges a proof by `work`, unless it cannot be one or there is no room for it. */
  async judge(proof: Proof, work: () => Promise<Outcome>): Promise<Outcome> {
    const fault = proofFault(proof);
    if (fault !== undefined) return wrong(fault);
    return withoutSecrets(await this.run(work, proof), proof);
  }

  /** No further attempts; resolves when none is in hand any more. The store sees to it that they end. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#inHand === 0) return;
    await new Promise<void>((resolve) => {
      const before = this.#idle;
      this.#idle = () => {
        before?.();
        resolve();
      };
    });
  }
}
