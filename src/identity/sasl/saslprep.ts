/** SASLprep (RFC 4013): which spellings of a user name or password are the same. */
import saslprep from 'saslprep';

/**
 * How the text is used (RFC 3454 7): `stored` for what is kept, in which code points that Unicode 3.2 did not know
 * are refused; `query` for what is compared with that, in which they are let through.
 */
export type PreparedFor = 'stored' | 'query';

/**
 * The prepared text, or undefined when it has characters that must not be (controls, private use, surrogates, mixed
 * directions) or when nothing is left of it: RFC 4616 2 and RFC 5802 5.1 let authentication fail in both cases.
 */
export const prepare = (text: string, use: PreparedFor): string | undefined => {
  try {
    const prepared = saslprep(text, { allowUnassigned: use === 'query' });
    return prepared === '' ? undefined : prepared;
  } catch {
    return undefined;
  }
};
