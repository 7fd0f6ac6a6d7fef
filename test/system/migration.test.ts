/**
 * A whole migration on a scratch system, by the commands that an administrator has: an old sendmail with its files under
 * /etc/mail is an open relay; it says so; its files become a policy; Sekisho steps in front; now it is closed and the
 * site's own mail flows; and the step back.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { freePort, noPackages } from '../support/packages.js';
import { folder, runSekisho, SekishoProcess } from '../support/process.js';
import { Sendmail } from '../support/sendmail.js';
import { askFor, deliver, SmtpClient } from '../support/smtp-client.js';

const skip = noPackages();

const FILES = {
  'local-host-names': 'campus.example\nmail.campus.example\n',
  'relay-domains': 'friends.example\n',
  access: 'Connect:127.0.0.3\tRELAY\nConnect:127.0.0.4\tREJECT\nFrom:spammer.example\tREJECT\n',
};

/** A mail by whoever has this address. */
const send = async (port: number, from: string, to: string): Promise<string> =>
  deliver(await SmtpClient.connect(port, from), to);

t.test('from an open relay to a closed one, and back', skip === undefined ? {} : { skip }, async (t) => {
  const dir = folder(t);
  const front = await freePort();
  const probe = ['probe', `127.0.0.1:${front}`, '--domain', 'campus.example'];

  let sendmail = await Sendmail.start({ port: front, files: FILES });
  t.teardown(() => sendmail.stop());
  const before = await runSekisho(probe);
  t.equal(before.code, 1, before.err);
  t.match(before.out, /OPEN RELAY/);

  const policy = path.join(dir, 'policy.yaml');
  const imported = await runSekisho(['import', 'sendmail', sendmail.mailDir, '--output', policy]);
  t.equal(imported.code, 0, imported.err);
  t.match(imported.err, /promiscuous_relay/, 'what makes an open relay is told, and left out');

  // The step: the old server moves behind, Sekisho takes its port.
  await sendmail.stop();
  sendmail = await Sendmail.start({ files: FILES });
  const config = path.join(dir, 'sekisho.yaml');
  writeFileSync(
    config,
    `listen: [{ host: 127.0.0.1, port: ${front} }]
upstream: { host: 127.0.0.1, port: ${sendmail.port} }
policy: policy.yaml
`,
  );
  const checked = await runSekisho(['check', '--config', config]);
  t.equal(checked.code, 0, checked.err);
  const sekisho = await SekishoProcess.serve(['--config', config]);
  t.teardown(() => sekisho.kill());

  const after = await runSekisho(probe);
  t.equal(after.code, 0, after.out + after.err);
  t.match(after.out, /Closed/);
  const stranger = await SmtpClient.connect(front, '127.0.0.2');
  t.match(await askFor(stranger, 'y@victim.example'), /^550 5\.7\.1 /, 'a stranger does not relay');
  const rejected = await SmtpClient.connect(front, '127.0.0.4');
  t.match(await askFor(rejected, 'root@campus.example'), /^5/, 'whom access rejects is rejected');
  t.match(await send(front, '127.0.0.2', 'root@campus.example'), /^250 /, 'mail for the site');
  t.match(await send(front, '127.0.0.2', 'carol@friends.example'), /^250 /, 'mail for a relay domain');
  t.match(await send(front, '127.0.0.3', 'dave@far.example'), /^250 /, 'whom access lets relay');
  t.same(
    sendmail
      .queue()
      .flatMap(({ recipients }) => recipients)
      .sort(),
    ['<carol@friends.example>', '<dave@far.example>', '<root@campus.example>'],
    'and all of it, and nothing else, lies in the queue of the old server',
  );

  const doctor = await runSekisho(['doctor', '--config', config, '--json']);
  const found: readonly { subject: string; level: string; what: string }[] = JSON.parse(doctor.out);
  const told = (subject: string): readonly string[] =>
    found.filter((each) => each.subject === subject).map(({ level, what }) => `${level} ${what}`);
  t.match(told('policy')[0], /^ok \d+ ways of relaying were tried/);
  t.match(told('listeners')[0], /^ok mx: .* takes connections: 220 /);
  t.ok(
    told('upstream').some((line) => /^note .* relays for whoever connects from Sekisho's address/.test(line)),
    'the server behind is as open as ever',
  );
  t.match(told('clock')[0], /^ok this host and 127\.0\.0\.1/, "sendmail's greeting tells the time");

  // The way back.
  await sekisho.kill('SIGTERM');
  await sendmail.stop();
  sendmail = await Sendmail.start({ port: front, files: FILES });
  t.equal((await runSekisho(probe)).code, 1, 'as it was');
});
