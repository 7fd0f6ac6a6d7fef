import t from 'tap';
import { DEFAULT_LENIENCY, type ParseOptions, parseCommand } from '../../src/smtp/command.js';
import type { Reading } from '../../src/smtp/path.js';
import { readings } from '../../src/smtp/routes.js';
import cases from '../corpus/relay-cases.json' with { type: 'json' };

type Outcome = 'local' | 'relay' | 'syntax';

const isLocal = (reading: Reading, domains: readonly string[]): boolean =>
  reading.kind === 'postmaster' || (reading.kind === 'domain' && domains.includes(reading.domain));

const parse = (line: string, utf8: boolean) => {
  const buffer = Buffer.from(line, 'latin1');
  const options: ParseOptions = { utf8, smtpUtf8Available: true, leniency: DEFAULT_LENIENCY };
  return parseCommand(buffer, 0, buffer.length, options);
};

const outcomeOf = (mailLine: string, rcptLine: string, domains: readonly string[]): Outcome => {
  const mail = parse(mailLine, false);
  if (!mail.ok || mail.value.verb !== 'MAIL') return 'syntax';
  const utf8 = mail.value.params.some(({ keyword }) => keyword === 'SMTPUTF8');
  const rcpt = parse(rcptLine, utf8);
  if (!rcpt.ok || rcpt.value.verb !== 'RCPT') return 'syntax';
  return readings(rcpt.value.path).every((reading) => isLocal(reading, domains)) ? 'local' : 'relay';
};

/** Both mean that it never reaches the MTA. */
const closed = (outcome: string): boolean => outcome === 'relay' || outcome === 'syntax';

for (const { id, mail, rcpt, local_domains, acceptable, why } of cases) {
  const outcome = outcomeOf(mail, rcpt, local_domains);
  const good = acceptable.includes(outcome) || (closed(outcome) && acceptable.some(closed));
  t.ok(good, `${id}: ${outcome}`, good ? {} : { mail, rcpt, acceptable, why });
}
t.ok(cases.length >= 180, 'the whole corpus was read');

/** Every recipient form of the corpus again with SMTPUTF8, which must not open what was closed. */
for (const { id, mail, rcpt, local_domains, acceptable } of cases) {
  if (acceptable.includes('local')) continue;
  t.not(
    outcomeOf(`${mail.replace(/( SMTPUTF8)?$/, '')} SMTPUTF8`, rcpt, local_domains),
    'local',
    `${id} utf8`,
  );
}
