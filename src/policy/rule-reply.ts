/** The words with which a rule refuses. */
import type { KeyPath } from './errors.js';
import type { RuleReply } from './facts.js';
import type { RuleInput, Verb } from './schema.js';
import type { Source } from './source.js';

/** 550 5.7.1 and 451 4.7.1: what a refusal by policy is without other words (RFC 5321 4.2.3, RFC 3463 3.8). */
const DEFAULTS = { deny: { code: 550, enhanced: '5.7.1' }, defer: { code: 451, enhanced: '4.7.1' } } as const;

/** Checks `reply` against its verb: 5xx denies, 4xx defers, and the enhanced code is of the same class. */
export const ruleReply = (
  input: RuleInput['reply'],
  verb: Verb,
  at: KeyPath,
  source: Source,
): RuleReply | undefined => {
  if (input === undefined) return undefined;
  if (verb === 'allow') {
    source.reportKey(at, 'an allow rule has no reply: the mail server answers', 'Remove it.');
    return undefined;
  }
  const {
    text,
    code: givenCode,
    enhanced: givenEnhanced,
  } = typeof input === 'string' ? { text: input } : input;
  if (/^[2-5]\d\d[ -]/.test(text)) {
    source.report(at, 'the text begins with a reply code', 'Write { code: 550, enhanced: 5.7.1, text: … }.');
    return undefined;
  }
  const usual = DEFAULTS[verb];
  const code = givenCode ?? usual.code;
  const level = Math.floor(usual.code / 100);
  if (Math.floor(code / 100) !== level)
    source.report([...at, 'code'], `a ${verb} rule answers ${level}xx, not ${code}`);
  // RFC 5321 3.8: 421 announces that the connection is closed, which no rule does.
  if (code === 421)
    source.report([...at, 'code'], '421 closes the connection, which a rule cannot do', 'Write 450 or 451.');
  const enhanced = givenEnhanced ?? (givenCode === undefined ? usual.enhanced : `${level}.7.1`);
  if (!enhanced.startsWith(`${level}.`))
    source.report([...at, 'enhanced'], `${enhanced} does not go with ${code}`, `Its class must be ${level}.`);
  return { code, enhanced, text };
};
