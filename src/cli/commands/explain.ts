import { type Flags, loadSetup, type Setup } from '../../app/config.js';
import { explain, renderExplanation } from '../../policy/explain.js';
import type { Facts } from '../../policy/facts.js';
import { pose, type QuestionFault } from '../../policy/question.js';
import { explainNow, renderStanding } from '../../proxy/standing.js';
import { complain, print } from '../output.js';
import { withStore } from '../state.js';

interface Options extends Flags {
  readonly client: string;
  readonly from: string;
  readonly to: string;
  readonly clientName?: string;
  readonly listener: string;
  readonly helo: string;
  readonly json?: boolean;
  readonly tls?: string;
  readonly login?: string;
  readonly window?: string;
  readonly listed?: readonly string[];
  readonly certificate?: string;
  readonly subject?: string;
}

/** Where no store is asked, nothing is open. */
const NO_WINDOWS: Pick<Facts, 'windows'> = { windows: { known: true, value: [] } };

/** From the flags alone, or with what the store of the configuration knows. */
const tellOf = async (setup: Setup, facts: Facts, options: Options): Promise<void> => {
  const { policy } = setup.proxy;
  const tell = (fact: unknown, text: string): void =>
    print(options.json === true ? JSON.stringify(fact, null, 2) : text);
  if (setup.store.kind === 'memory') {
    const explanation = explain(policy, { ...NO_WINDOWS, ...facts });
    return tell(explanation, renderExplanation(explanation));
  }
  await withStore(setup, async ({ store }) => {
    const { explanation, ...standing } = await explainNow(policy, facts, store, Date.now());
    tell({ ...explanation, ...standing }, renderStanding({ explanation, ...standing }));
  });
};

const faultLine = ({ field, message }: QuestionFault, options: Options): string =>
  `--${field.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} ${options[field] ?? ''}: ${message}`;

export const explainCommand = (options: Options): void | Promise<void> => {
  // An upstream has no part in a verdict.
  const setup = loadSetup({
    ...options,
    ...{ listen: undefined, upstream: ['127.0.0.1:25'], log: undefined, offline: true },
  });
  if (!setup.ok) return complain(setup.error.lines, 2);
  const posed = pose(options);
  if (!posed.ok)
    return complain(
      posed.error.map((fault) => faultLine(fault, options)),
      2,
    );
  if ('facts' in posed.value) return tellOf(setup.value, posed.value.facts, options);
  const { refused } = posed.value;
  const text = `=> deny: refused before any rule: ${refused.join('; ')}`;
  print(options.json === true ? JSON.stringify({ verdict: { kind: 'deny', why: refused } }, null, 2) : text);
};
