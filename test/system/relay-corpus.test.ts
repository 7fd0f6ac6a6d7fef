/** Every relay form of the corpus through real sockets, from a stranger, against an MTA that would relay it. */
import t from 'tap';
import { startLegacyMta } from '../../src/demo/legacy-mta.js';
import cases from '../corpus/relay-cases.json' with { type: 'json' };
import { startSekisho, testPolicy } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';
import { disagreement } from '../support/upstream-readers.js';

const STRANGER = '127.0.0.2';
const KEYWORDS = ['8BITMIME', 'SIZE', 'DSN', 'SMTPUTF8'];

const groups = new Map<string, (typeof cases)[number][]>();
for (const each of cases) {
  const key = each.local_domains.join(' ');
  groups.set(key, [...(groups.get(key) ?? []), each]);
}

for (const [domains, group] of groups) {
  t.test(`local domains: ${domains}`, async (t) => {
    const mta = await startLegacyMta({ ehlo: KEYWORDS });
    const sekisho = await startSekisho({
      upstreams: [{ port: mta.port }],
      policy: testPolicy(domains.split(' '), []),
    });
    t.teardown(async () => {
      await sekisho.stop();
      await mta.close();
    });
    const reached = (): number =>
      mta.connections.flatMap(({ commands }) => commands).filter((line) => /^RCPT/i.test(line)).length;
    for (const { id, mail, rcpt, acceptable, why } of group) {
      const client = await SmtpClient.connect(sekisho.port, STRANGER);
      await client.reply();
      await client.say('EHLO probe.example');
      const before = reached();
      const mailReply = await client.say(mail);
      const rcptReply = await client.say(rcpt);
      const taken = codeOf(rcptReply) === 250;
      client.destroy();
      const about = { mail, rcpt, mailReply, rcptReply, why };
      t.equal(reached() > before, taken, `${id}: what was refused never reached the MTA`, about);
      const good = taken ? acceptable.includes('local') : acceptable.some((word) => word !== 'local');
      t.ok(good, `${id}: ${taken ? 'accepted' : 'refused'}`, good ? {} : about);
    }
    const differences = mta.connections.map(disagreement).filter((each) => each !== undefined);
    t.strictSame(differences, [], 'strict and lenient servers hear the same');
  });
}

t.test('the MTA alone would have relayed', async (t) => {
  const mta = await startLegacyMta();
  t.teardown(() => mta.close());
  const client = await SmtpClient.connect(mta.port, STRANGER);
  await client.reply();
  await client.say('HELO probe.example');
  await client.say('MAIL FROM:<a@sender.example>');
  t.equal(codeOf(await client.say('RCPT TO:<relaytest@victim.example>')), 250);
  client.destroy();
});
