/** Runs the tests that a policy bears inside, by the same parser and the same verdicts as mail. */
import { parsePath } from '../smtp/address.js';
import type { Path } from '../smtp/path.js';
import { hazard } from '../smtp/routes.js';
import type { CompiledTest, Policy } from './compile.js';
import { decide } from './decide.js';
import { envelopeFacts } from './envelope.js';
import type { Verb } from './schema.js';

export interface TestResult {
  readonly name: string;
  readonly ok: boolean;
  readonly expected: { readonly kind: Verb; readonly rule: string | undefined };
  /** `rule` is undefined where no rule decided. */
  readonly got: { readonly kind: Verb; readonly rule: string | undefined };
  /** Why the verdict was as it was: one line. */
  readonly why: string;
  /** Where the test stands in the policy file, both from 1. */
  readonly line: number;
  readonly column: number;
}

/** The path as a client would have sent it, or why it would have gone no further than the parser. */
const readAddress = (what: 'sender' | 'recipient', text: string): { path: Path } | { refused: string } => {
  const bracketed = text.startsWith('<') ? text : `<${text}>`;
  // The parser reads a line as it comes from the wire: one character an octet.
  const wire = Buffer.from(bracketed, 'utf8').toString('latin1');
  const path = parsePath(wire, { utf8: true, nullAllowed: what === 'sender' });
  if (!path.ok)
    return { refused: `the ${what} does not parse, so it is refused before any rule: ${path.error}` };
  const danger = hazard(path.value);
  return danger === undefined
    ? { path: path.value }
    : { refused: `the ${what} is refused before any rule: ${danger}` };
};

const judged = (
  policy: Policy,
  test: CompiledTest,
): { kind: Verb; rule: string | undefined; why: string } => {
  const from = readAddress('sender', test.from);
  if ('refused' in from) return { kind: 'deny', rule: undefined, why: from.refused };
  const to = readAddress('recipient', test.to);
  if ('refused' in to) return { kind: 'deny', rule: undefined, why: to.refused };
  const { client, clientName, listener, helo, tls, proven } = test;
  const secure = tls === undefined ? {} : { tls };
  return decide(policy, {
    client,
    clientName,
    listener,
    helo,
    ...secure,
    ...proven,
    ...envelopeFacts(from.path, to.path),
  });
};

/** Runs every test of the policy, in the order of the file. */
export const runTests = (policy: Policy): readonly TestResult[] =>
  policy.tests.map((test) => {
    const { kind, rule, why } = judged(policy, test);
    const { name, expect, line, column } = test;
    const ok = kind === expect && (test.rule === undefined || test.rule === rule);
    return { name, ok, expected: { kind: expect, rule: test.rule }, got: { kind, rule }, why, line, column };
  });
