/** SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677; bindings of RFC 5929 and RFC 9266), the server's side. */
import { timingSafeEqual } from 'node:crypto';
import type { Login, ScramKeys } from '../credentials.js';
import { type Gs2Header, gs2Header, saslName } from './gs2.js';
import type { SaslContext, SaslMechanism } from './mechanism.js';
import { fromBase64, hash, hmac, SCRAM_KEY_LENGTH } from './scram-keys.js';
import { decodeText } from './text.js';
import { askKeys, challenge, clientFirst, done, exchange, failed, type Move } from './turns.js';

/** Characters of a client's nonce. RFC 5802 has no bound; common clients draw 24 to 64. */
export const CLIENT_NONCE = 512;

/** An `m=` in front, the extension that must be understood (RFC 5802 5.1), does not match: nobody has defined one. */
const FIRST_BARE = /^n=([^,]+),r=([!-+\x2d-~]+)(?:,[A-Za-z]=[^,]+)*$/;
const FINAL = /^(c=([^,]+),r=([^,]+)(?:,[A-Za-z]=[^,]+)*),p=([^,]+)$/;

/** What is known once the client has spoken first. */
interface Opened {
  readonly user: string;
  /** What `c=` has to hold: the GS2 header as sent, and the binding's data (RFC 5802 7, cbind-input). */
  readonly bound: Buffer;
  readonly firstBare: string;
  /** The client's and the server's. */
  readonly nonce: string;
}

/** Takes no longer for a better guess. */
const same = (one: Buffer, other: Buffer): boolean =>
  one.length === other.length && timingSafeEqual(one, other);

/** The data to which a client wants to bind; undefined when this connection has no such binding. */
const bindingOf = ({ flag, binding }: Gs2Header, { bindings }: SaslContext): Buffer | undefined =>
  flag === 'p' ? [...bindings].find(([name]) => name === binding)?.[1] : Buffer.alloc(0);

/** RFC 5802 6: which flag goes with which of the two mechanisms. */
const flagFault = ({ flag }: Gs2Header, plus: boolean, context: SaslContext): Move | undefined => {
  if (plus !== (flag === 'p')) {
    return failed('malformed', 'SCRAM with the channel binding flag of another mechanism');
  }
  return flag === 'y' && context.plusOffered
    ? failed('wrong', 'the client was not told of SCRAM-SHA-256-PLUS, though it was on offer: a downgrade')
    : undefined;
};

/** The server's signature is sent as a challenge (RFC 4954 4), which the client acknowledges with nothing. */
const sign = (user: string, keys: ScramKeys, authMessage: string, login: Login): Move =>
  challenge(`v=${hmac(keys.serverKey, authMessage).toString('base64')}`, (response) =>
    response.length === 0 ? done(login) : failed('malformed', 'SCRAM with something after the end', user),
  );

/** `login` is undefined when nobody has these keys: then the proof fails, after the same work. */
const judge = (
  opened: Opened,
  serverFirst: string,
  keys: ScramKeys,
  login: Login | undefined,
  message: Buffer,
): Move => {
  const { user, bound, nonce, firstBare } = opened;
  const fault = (why: string): Move => failed('malformed', why, user);
  const [, withoutProof, channel = '', echoed = '', sent = ''] = FINAL.exec(decodeText(message) ?? '') ?? [];
  if (withoutProof === undefined) return fault('SCRAM with a final message that is none');
  const cbind = fromBase64(channel);
  const proof = fromBase64(sent);
  if (cbind === undefined || proof?.length !== SCRAM_KEY_LENGTH)
    return fault('SCRAM with base64 that is none');
  if (!same(Buffer.from(echoed), Buffer.from(nonce))) return failed('wrong', 'the nonce is another', user);
  if (!same(cbind, bound))
    return failed('wrong', 'the channel binding is another: somebody in between?', user);
  const authMessage = `${firstBare},${serverFirst},${withoutProof}`;
  const signature = hmac(keys.storedKey, authMessage);
  const clientKey = Buffer.from(proof.map((octet, at) => octet ^ (signature[at] ?? 0)));
  const proven = same(hash(clientKey), keys.storedKey);
  if (login === undefined) return failed('wrong', 'no such user, or none with keys for SCRAM', user);
  return proven ? sign(user, keys, authMessage, login) : failed('wrong', 'the proof is wrong', user);
};

const answer = (opened: Opened, keys: ScramKeys, login: Login | undefined): Move => {
  if (keys.storedKey.length !== SCRAM_KEY_LENGTH || keys.serverKey.length !== SCRAM_KEY_LENGTH) {
    return failed('unavailable', 'the stored keys are not those of SCRAM-SHA-256', opened.user);
  }
  const serverFirst = `r=${opened.nonce},s=${keys.salt.toString('base64')},i=${keys.iterations}`;
  return challenge(serverFirst, (message) => judge(opened, serverFirst, keys, login, message));
};

const open = (message: Buffer, plus: boolean, context: SaslContext): Move => {
  const text = decodeText(message) ?? '';
  const header = gs2Header(text);
  if (header === undefined) return failed('malformed', 'SCRAM without a GS2 header');
  const firstBare = text.slice(header.text.length);
  const [, name, clientNonce] = FIRST_BARE.exec(firstBare) ?? [];
  const user = name === undefined ? undefined : saslName(name);
  if (user === undefined || clientNonce === undefined || clientNonce.length > CLIENT_NONCE) {
    return failed('malformed', 'SCRAM with a first message that is none');
  }
  const fault = flagFault(header, plus, context);
  if (fault !== undefined) return fault;
  if (header.authzid !== undefined && header.authzid !== user) {
    return failed('wrong', 'the client asked to act as somebody else', user);
  }
  const data = bindingOf(header, context);
  if (data === undefined) return failed('wrong', 'the connection has no such channel binding', user);
  const bound = Buffer.concat([Buffer.from(header.text), data]);
  const opened = { user, bound, firstBare, nonce: clientNonce + context.nonce };
  return askKeys(user, (keys, login) => answer(opened, keys, login));
};

const begin =
  (plus: boolean): SaslMechanism['begin'] =>
  (context) =>
    exchange(clientFirst((message) => open(message, plus, context)));

export const SCRAM_SHA_256: SaslMechanism = {
  name: 'SCRAM-SHA-256',
  plaintext: false,
  needs: 'scram-sha-256',
  begin: begin(false),
};

export const SCRAM_SHA_256_PLUS: SaslMechanism = {
  name: 'SCRAM-SHA-256-PLUS',
  plaintext: false,
  needs: 'scram-sha-256',
  requires: 'binding',
  begin: begin(true),
};
