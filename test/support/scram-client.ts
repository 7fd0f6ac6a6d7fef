/** A SCRAM client (RFC 5802) that shares no line with Sekisho, for both hashes of the RFCs' examples. */
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';

export interface ScramClientOptions {
  readonly user: string;
  readonly password: string;
  readonly nonce: string;
  /** SHA-256 unless it says otherwise. */
  readonly digest?: 'sha1' | 'sha256';
  /** The GS2 header with its last comma; `n,,` unless it says otherwise. */
  readonly gs2?: string;
  /** The data of the channel binding that the header names. */
  readonly binding?: Buffer;
  /** Attributes behind the nonce, such as `,x=1`. */
  readonly extensions?: string;
  /** What to sign and send in place of the nonce that the server sent. */
  readonly echo?: string;
}

export class ScramClient {
  readonly #options: ScramClientOptions;
  readonly #digest: string;
  #serverSignature = '';

  constructor(options: ScramClientOptions) {
    this.#options = options;
    this.#digest = options.digest ?? 'sha256';
  }

  get #gs2(): string {
    return this.#options.gs2 ?? 'n,,';
  }

  get #bare(): string {
    const { user, nonce, extensions = '' } = this.#options;
    return `n=${user.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${nonce}${extensions}`;
  }

  first(): string {
    return this.#gs2 + this.#bare;
  }

  /** Throws when the server's first message is not one, or does not go on with the client's nonce. */
  final(serverFirst: string): string {
    const match = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(serverFirst);
    if (match === null) throw new Error('no server-first-message');
    const [, nonce = '', salt = '', count = ''] = match;
    if (!nonce.startsWith(this.#options.nonce) || nonce === this.#options.nonce)
      throw new Error('wrong nonce');
    const octets = createHash(this.#digest).digest().length;
    const salted = pbkdf2Sync(
      this.#options.password,
      Buffer.from(salt, 'base64'),
      Number(count),
      octets,
      this.#digest,
    );
    const { binding = Buffer.alloc(0) } = this.#options;
    const channel = Buffer.concat([Buffer.from(this.#gs2), binding]).toString('base64');
    const withoutProof = `c=${channel},r=${this.#options.echo ?? nonce}`;
    const auth = `${this.#bare},${serverFirst},${withoutProof}`;
    const clientKey = this.#hmac(salted, 'Client Key');
    const signature = this.#hmac(createHash(this.#digest).update(clientKey).digest(), auth);
    const proof = clientKey.map((octet, at) => octet ^ signature.readUInt8(at));
    this.#serverSignature = this.#hmac(this.#hmac(salted, 'Server Key'), auth).toString('base64');
    return `${withoutProof},p=${Buffer.from(proof).toString('base64')}`;
  }

  /** Whether the server has proven that it knows the keys. */
  trusts(serverFinal: string): boolean {
    return this.#serverSignature !== '' && serverFinal === `v=${this.#serverSignature}`;
  }

  #hmac(key: Buffer, text: string): Buffer {
    return createHmac(this.#digest, key).update(text).digest();
  }
}
