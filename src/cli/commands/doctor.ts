import { loadSetup } from '../../app/config.js';
import { readLines } from '../../app/log-lines.js';
import { LogClients } from '../../doctor/clients.js';
import { examine, thisHost } from '../../doctor/doctor.js';
import { type Finding, type Level, SUBJECTS } from '../../doctor/finding.js';
import { complain, print } from '../output.js';

interface Options {
  readonly config: string;
  readonly log?: string;
  readonly timeout: string;
  readonly json?: boolean;
}

const MARKS: Readonly<Record<Level, string>> = { fault: '!!', warn: '! ', note: '- ', ok: '  ' };
const COUNTED = { fault: 'faults', warn: 'warnings', note: 'notes' } as const;

const render = (found: readonly Finding[]): string => {
  const count = (level: Level): number => found.filter((each) => each.level === level).length;
  const lines = SUBJECTS.flatMap((subject) => {
    const own = found.filter((each) => each.subject === subject);
    return own.length === 0
      ? []
      : [
          `${subject}:`,
          ...own.flatMap(({ level, what, remedy }) => [
            `  ${MARKS[level]} ${what}`,
            ...remedy.map((line) => `       ${line}`),
          ]),
        ];
  });
  const sums = (['fault', 'warn', 'note'] as const).map((level) => `${count(level)} ${COUNTED[level]}`);
  return [...lines, `${sums.join(', ')}.`].join('\n');
};

/** Exit code 0: nothing to mend. 1: faults or warnings. 2: the configuration or the log cannot be read. */
export const doctor = async ({ config, log, timeout, json }: Options): Promise<void> => {
  const seconds = Number(timeout);
  if (!(seconds > 0 && seconds <= 600))
    return complain([`--timeout ${timeout}: must be seconds, up to 600`], 2);
  const setup = loadSetup({ config });
  if (!setup.ok) return complain(setup.error.lines, 2);
  let clients: LogClients | undefined;
  if (log !== undefined) {
    clients = new LogClients();
    try {
      for await (const line of readLines(log)) clients.add(line);
    } catch (error) {
      return complain([`--log ${log}: ${error instanceof Error ? error.message : String(error)}`], 2);
    }
  }
  const found = await examine(setup.value, thisHost(seconds * 1_000), clients);
  print(json === true ? JSON.stringify(found, null, 2) : render(found));
  if (found.some(({ level }) => level === 'fault' || level === 'warn')) process.exitCode = 1;
};
