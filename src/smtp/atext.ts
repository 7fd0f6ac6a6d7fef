/**
 * Character classes of addresses.
 *
 *   atext       = ALPHA / DIGIT / "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "/"
 *               / "=" / "?" / "^" / "_" / "`" / "{" / "|" / "}" / "~"           RFC 5322 3.2.3
 *               / UTF8-non-ascii                                                RFC 6531 3.3
 *   Dot-string  = Atom *("." Atom)                                              RFC 5321 4.1.2
 *   qtextSMTP   = %d32-33 / %d35-91 / %d93-126 / UTF8-non-ascii                 RFC 5321 4.1.2, RFC 6531 3.3
 *   quoted-pairSMTP = "\" %d32-126                                              RFC 5321 4.1.2
 */

const DOT_STRING =
  /^[\w!#$%&'*+\-/=?^`{|}~\u{80}-\u{10ffff}]+(?:\.[\w!#$%&'*+\-/=?^`{|}~\u{80}-\u{10ffff}]+)*$/u;

const DOT = 0x2e;
/** The ASCII octets of atext. What is asked of every address is looked up here: an expression costs several times more. */
const ATEXT = new Uint8Array(0x80);
for (let c = 0x21; c < 0x7f; c += 1) ATEXT[c] = c !== DOT && DOT_STRING.test(String.fromCharCode(c)) ? 1 : 0;

/** True if the local part can stand without quotes. */
export const isDotString = (text: string): boolean => {
  let before = DOT;
  for (let i = 0; i < text.length; i += 1) {
    const c = text.charCodeAt(i);
    if (c >= 0x80) return DOT_STRING.test(text);
    if (ATEXT[c] === 0 && (c !== DOT || before === DOT)) return false;
    before = c;
  }
  return before !== DOT;
};

/** Space to tilde and nothing else, before `end`. */
export const isPrintableAscii = (text: string, end = text.length): boolean => {
  for (let i = 0; i < end; i += 1) {
    const c = text.charCodeAt(i);
    if (c < 0x20 || c > 0x7e) return false;
  }
  return true;
};

/** C0 controls, TAB among them, and DEL. */
export const hasControl = (text: string): boolean => /[\x00-\x1f\x7f]/.test(text);

/** Octets with the high bit in a Latin-1 decoded line, or any character beyond ASCII. */
export const hasNonAscii = (text: string): boolean => {
  for (let i = 0; i < text.length; i += 1) if (text.charCodeAt(i) > 0x7f) return true;
  return false;
};

/**
 * What may not be seen for what it is: controls (C1 too), format, bidi and other invisible characters,
 * surrogates, private and unassigned code points, and spaces other than SP.
 */
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u{fffd}\u{2800}]|(?! )\p{Zs}/u;

/**
 * True if a local part that is valid UTF-8 can be taken as it is. It must be in NFC (RFC 6532 3.1 says
 * SHOULD; required here, so that one mailbox has one spelling), all visible, and no character of it may fold
 * onto ASCII: a fullwidth `@`, `%` or `|` becomes the real one in whatever normalises with NFKC further on.
 */
export const isPlainUnicode = (text: string): boolean => {
  if (UNSEEN.test(text) || text !== text.normalize('NFC')) return false;
  for (const character of text) {
    if (hasNonAscii(character) && /[\x00-\x7f]/.test(character.normalize('NFKC'))) return false;
  }
  return true;
};
