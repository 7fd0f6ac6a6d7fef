/**
 * What others use to find holes in mail servers, against a real sendmail, the embedded legacy MTA, and both behind
 * Sekisho: nmap's scripts, swaks, and the dialogues of smuggling scanners and STARTTLS injection testers. The outcomes
 * are the table in README; SEKISHO_README=write brings it up to date.
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import tls from 'node:tls';
import t from 'tap';
import { type LegacyMta, startLegacyMta } from '../../src/demo/legacy-mta.js';
import { certify } from '../support/certificates.js';
import { overheardPort } from '../support/overheard.js';
import { install, noPackages } from '../support/packages.js';
import { folder, SekishoProcess } from '../support/process.js';
import { eventually } from '../support/sekisho.js';
import { Sendmail } from '../support/sendmail.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

/** Where a tester knocks. */
interface Target {
  readonly port: number;
  /** Senders of all messages that the MTA at the end has. */
  readonly senders: () => string[];
}

/** True: the hole is open. Undefined: nothing could be tried (TLS where there is none), or the tester says nothing. */
type Probe = (target: Target, mark: string) => Promise<boolean | undefined>;

interface Form {
  readonly form: string;
  readonly tester: string;
  readonly probe: Probe;
}

const PATIENCE = 60_000;

const run = (file: string, args: readonly string[]): Promise<{ code: number; out: string }> =>
  new Promise((resolve) => {
    const child = execFile(file, args, { timeout: 120_000 }, (error, out) =>
      resolve({ code: error === null ? 0 : 1, out }),
    );
    child.stdin?.end('Subject: x\n\nx\n');
  });

/** What one of nmap's scripts said about a port; on a busy machine it gives up now and then, and is asked again. */
const nmap = async (port: number, script: string, args: string): Promise<string> => {
  const wanted = ['--script', `+${script}`, '--script-args', args];
  let said = '';
  for (let tries = 0; tries < 3; tries += 1) {
    const { out } = await run('nmap', ['-Pn', '-n', '-p', `${port}`, ...wanted, '-oX', '-', '127.0.0.1']);
    said = new RegExp(`<script id="${script}" output="([^"]*)"`).exec(out)?.[1] ?? '';
    if (said !== '' && !/couldn.t|timed? ?out|\bERROR\b|\bEOF\b/i.test(said)) break;
  }
  return said;
};

const scripted =
  (script: string, args: string, open: RegExp): Probe =>
  async ({ port }) =>
    ((said) => (said === '' ? undefined : open.test(said)))(await nmap(port, script, args));

const RELAY = ['domain=victim.example', 'from=antispam', 'to=relaytest'];
const relayArgs = RELAY.map((each) => `smtp-open-relay.${each}`).join();

const swaks =
  (to: string): Probe =>
  async ({ port }) => {
    const server = ['--server', `127.0.0.1:${port}`, '--helo', 'c.example', '--from', 'a@sender.example'];
    return (await run('swaks', [...server, '--to', to])).code === 0;
  };

/** A message within which another one is hidden behind an end of data that is none. */
const smuggled =
  (end: string): Probe =>
  async ({ port, senders }, mark) => {
    const client = await SmtpClient.connect(port, '127.0.0.2');
    await client.reply(PATIENCE);
    for (const line of [
      'EHLO c.example',
      'MAIL FROM:<a@sender.example>',
      'RCPT TO:<bob@local.example>',
      'DATA',
    ])
      await client.say(line, PATIENCE);
    const hidden = `MAIL FROM:<${mark}@sender.example>\r\nRCPT TO:<bob@local.example>\r\nDATA\r\nSubject: y\r\n\r\ny`;
    client.send(`Subject: x\r\n\r\nx${end}${hidden}\r\n.\r\nQUIT\r\n`);
    await client.end(PATIENCE).catch(() => undefined);
    client.destroy();
    return senders().some((sender) => sender.includes(mark));
  };

/** Says more in one segment with STARTTLS, and listens under TLS for an answer to it. */
const injected =
  (more: string): Probe =>
  async ({ port }) => {
    const client = await SmtpClient.connect(port, '127.0.0.2');
    await client.reply(PATIENCE);
    if (!/STARTTLS/.test(await client.say('EHLO c.example', PATIENCE))) {
      client.destroy();
      return undefined;
    }
    client.send(`STARTTLS\r\n${more}\r\n`);
    if (codeOf(await client.reply(PATIENCE)) !== 220) {
      client.destroy();
      return false;
    }
    client.socket.removeAllListeners('data');
    const secure = tls.connect({ socket: client.socket, rejectUnauthorized: false });
    try {
      await once(secure, 'secureConnect');
      const under = SmtpClient.over(secure);
      // The first answer is to the first thing said under TLS, or to what was said before it.
      return !/FAKE|unrecogni[sz]ed|unknown|5\.5\.1/i.test(await under.say('FAKE', PATIENCE));
    } catch {
      return false;
    } finally {
      secure.destroy();
    }
  };

const RISKY = /\b(?:EXPN|VERB|ETRN|TURN|XEXCH50)\b/;

const FORMS: readonly Form[] = [
  {
    form: 'open relay (CVE-1999-0512)',
    tester: 'nmap smtp-open-relay',
    probe: scripted('smtp-open-relay', relayArgs, /is an open relay/),
  },
  { form: 'relay to a stranger', tester: 'swaks', probe: swaks('y@victim.example') },
  { form: 'relay by `%`', tester: 'swaks', probe: swaks('y%victim.example@local.example') },
  { form: 'relay by `!`', tester: 'swaks', probe: swaks('victim.example!y@local.example') },
  { form: 'relay by route', tester: 'swaks', probe: swaks('@local.example:y@victim.example') },
  {
    form: 'users told by VRFY, EXPN (CVE-1999-0531)',
    tester: 'nmap smtp-enum-users',
    probe: scripted(
      'smtp-enum-users',
      'smtp-enum-users.methods={VRFY,EXPN},smtp-enum-users.domain=local.example',
      /\broot\b/,
    ),
  },
  {
    form: 'EXPN, VERB or ETRN on offer',
    tester: 'nmap smtp-commands',
    probe: scripted('smtp-commands', 'smtp-commands.domain=c.example', RISKY),
  },
  ...['2010-4344', '2011-1720', '2011-1764'].map((cve) => ({
    form: `CVE-${cve} (${cve === '2011-1720' ? 'Postfix' : 'Exim'})`,
    tester: `nmap smtp-vuln-cve${cve}`,
    probe: scripted(`smtp-vuln-cve${cve}`, 'smtp.domain=c.example,vulns.showall', /(?<!NOT )VULNERABLE/),
  })),
  ...(
    [
      ['LF . LF', '\n.\n'],
      ['LF . CRLF', '\n.\r\n'],
      ['CRLF . LF', '\r\n.\n'],
      ['CR . CR', '\r.\r'],
      ['CR . CRLF', '\r.\r\n'],
      ['CRLF . CR', '\r\n.\r'],
      ['CRLF NUL . CRLF', '\r\n\0.\r\n'],
      ['CRLF . NUL CRLF', '\r\n.\0\r\n'],
    ] as const
  ).map(([name, end]) => ({
    form: `smuggling by ${name} (CVE-2023-51764 to 51766)`,
    tester: 'dialogue of the scanners',
    probe: smuggled(end),
  })),
  ...['NOOP', 'EHLO commandinjectiontester', 'RSET'].map((more) => ({
    form: `STARTTLS with ${more.split(' ')[0]} behind it (CVE-2011-0411)`,
    tester: 'dialogue of the testers',
    probe: injected(more),
  })),
];

const OPEN = '**open**';
const told = (open: boolean | undefined): string => (open === undefined ? '–' : open ? OPEN : 'closed');

const START = '<!-- testers:start -->\n';
const END = '<!-- testers:end -->';

t.test('the tester of STARTTLS finds a server that keeps what came too early', async (t) => {
  const { cert, key } = certify(folder(t), 'mail.local.example');
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined);
    socket.write('220 mx\r\n');
    socket.once('data', () => {
      socket.write('250-mx\r\n250 STARTTLS\r\n');
      socket.once('data', () => {
        socket.write('220 go\r\n');
        const pair = { cert: readFileSync(cert), key: readFileSync(key) };
        const secure = new tls.TLSSocket(socket, { isServer: true, ...pair });
        secure.on('error', () => undefined);
        secure.on('secure', () => secure.write('250 to what was said before\r\n'));
      });
    });
  });
  t.teardown(() => server.close());
  server.listen({ host: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  t.equal(await injected('NOOP')({ port, senders: () => [] }, ''), true);
});

const options = ((reason) => (reason === undefined ? {} : { skip: reason }))(noPackages());

t.test('what testers find, and what they find behind Sekisho', options, async (t) => {
  await install(['nmap', 'swaks', 'openssl', 'm4']);
  const dir = folder(t);
  const pair = certify(dir, 'mail.local.example');
  const sendmail = await Sendmail.start({ tls: pair });
  const legacy: LegacyMta = await startLegacyMta({ ehlo: ['8BITMIME', 'VRFY', 'EXPN', 'ETRN'] });
  const behind = async (port: number, name: string): Promise<SekishoProcess> => {
    const config = `listen: [{ name: mx, host: 127.0.0.1, port: 0, tls: starttls }]
upstream: { host: 127.0.0.1, port: ${port} }
local_domains: [local.example]
tls: { cert: ${pair.cert}, key: ${pair.key} }
`;
    writeFileSync(`${dir}/${name}.yaml`, config);
    return SekishoProcess.serve(['--config', `${dir}/${name}.yaml`]);
  };
  const [beforeSendmail, beforeLegacy] = [
    await behind(await overheardPort(t, 'sendmail', sendmail.port), 'a'),
    await behind(await overheardPort(t, 'legacy MTA', legacy.port), 'b'),
  ];
  t.teardown(async () => {
    await Promise.all([beforeSendmail.kill(), beforeLegacy.kill(), sendmail.stop(), legacy.close()]);
  });
  const inSendmail = (): string[] => sendmail.queue().map(({ sender }) => sender);
  const inLegacy = (): string[] => legacy.messages.map(({ from }) => from);
  const targets: readonly Target[] = [
    { port: sendmail.port, senders: inSendmail },
    { port: legacy.port, senders: inLegacy },
    { port: beforeSendmail.port, senders: inSendmail },
    { port: beforeLegacy.port, senders: inLegacy },
  ];
  const rows = await Promise.all(
    targets.map(async (target, of) => {
      const found: string[] = [];
      for (const [i, { probe }] of FORMS.entries())
        found.push(told(await probe(target, `smuggled-${of}-${i}`)));
      return found;
    }),
  );
  for (const target of targets)
    t.equal(await swaks('bob@local.example')(target, ''), true, 'swaks delivers what may be delivered');
  const [alone = [], old = [], first = [], second = []] = rows;
  const lines = FORMS.map(({ form, tester }, i) => {
    t.not(first[i], OPEN, `${form}: closed before sendmail`);
    t.equal(second[i], first[i], `${form}: the same before the legacy MTA`);
    return `| ${form} | ${tester} | ${alone[i]} | ${old[i]} | ${first[i]} |`;
  });
  await eventually('the queue is still there', () => inSendmail().length > 0);
  const table = `| form | tester | sendmail 8.17 | legacy MTA | either behind Sekisho |\n|---|---|---|---|---|\n${lines.join('\n')}\n`;
  const readme = readFileSync('README.md', 'utf8');
  const [from, to] = [readme.indexOf(START) + START.length, readme.indexOf(END)];
  if (process.env.SEKISHO_README === 'write')
    writeFileSync('README.md', readme.slice(0, from) + table + readme.slice(to));
  else t.equal(readme.slice(from, to), table, 'README says so');
});
