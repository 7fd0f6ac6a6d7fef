/** The GS2 header (RFC 5801 4) with which SCRAM and OAUTHBEARER messages start. */
import { userName } from './text.js';

export interface Gs2Header {
  /**
   * `n`: the client knows no channel binding; `y`: it does, and thinks the server does not; `p`: it binds to `binding`.
   */
  readonly flag: 'n' | 'y' | 'p';
  /** The name of a channel binding, '' unless the flag is `p`. */
  readonly binding: string;
  /** As stores know users; undefined when none was asked for. */
  readonly authzid: string | undefined;
  /** The header itself with its last comma, as sent. */
  readonly text: string;
}

const HEADER = /^(?:([ny])|p=([A-Za-z0-9.-]+)),(?:a=([^,]+))?,/;
/** RFC 5801 4: comma and equals sign are written `=2C` and `=3D`, and no other escape exists. */
const SASL_NAME = /^(?:[^=,]|=2C|=3D)+$/;

/** A saslname as stores know users; undefined when it is not well-formed or can be no user's name. */
export const saslName = (text: string): string | undefined =>
  SASL_NAME.test(text) ? userName(text.replaceAll('=2C', ',').replaceAll('=3D', '=')) : undefined;

/** The header at the start of a message; undefined when there is none. */
export const gs2Header = (message: string): Gs2Header | undefined => {
  const match = HEADER.exec(message);
  if (match === null) return undefined;
  const [text, flag, binding = '', name] = match;
  const authzid = name === undefined ? undefined : saslName(name);
  if (name !== undefined && authzid === undefined) return undefined;
  return { flag: flag === 'n' || flag === 'y' ? flag : 'p', binding, authzid, text };
};
