/** What is said at the beginning of every session under the same settings; most sessions have the same. */
import { authKeyword } from '../capabilities.js';
import { banner, ehloReply, helloReply, lasting, type Reply } from '../reply.js';
import type { SessionSettings, SessionState } from './state.js';

class Greetings {
  readonly banner: Reply;
  readonly helo: Reply;
  readonly #settings: SessionSettings;
  readonly #plain = new Map<string, Reply>();
  readonly #secure = new Map<string, Reply>();

  constructor(settings: SessionSettings) {
    this.#settings = settings;
    this.banner = lasting(banner(settings.hostname));
    this.helo = lasting(helloReply(settings.hostname));
  }

  ehlo(secure: boolean, mechanisms: readonly string[]): Reply {
    const known = secure ? this.#secure : this.#plain;
    const key = mechanisms.length === 0 ? '' : mechanisms.join(' ');
    let reply = known.get(key);
    if (reply === undefined) {
      const { hostname, keywords, secureKeywords } = this.#settings;
      const offered = [...(secure ? secureKeywords : keywords), ...authKeyword(mechanisms)];
      reply = lasting(ehloReply(hostname, offered));
      known.set(key, reply);
    }
    return reply;
  }
}

const GREETINGS = new WeakMap<SessionSettings, Greetings>();
const NO_MECHANISMS: readonly string[] = [];

const greetingsOf = (settings: SessionSettings): Greetings => {
  let known = GREETINGS.get(settings);
  if (known === undefined) {
    known = new Greetings(settings);
    GREETINGS.set(settings, known);
  }
  return known;
};

export const bannerOf = ({ settings }: SessionState): Reply => greetingsOf(settings).banner;

/** RFC 4954 4: AUTH is not offered again once somebody has logged in. */
export const helloOf = ({ settings, esmtp, secure, auth, login }: SessionState): Reply => {
  const greetings = greetingsOf(settings);
  return esmtp ? greetings.ehlo(secure, login === undefined ? auth : NO_MECHANISMS) : greetings.helo;
};
