/** What single pieces of the built code take, in this process, on its own: medians of short runs. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { z } from 'zod';
import type { Facts } from '../../src/policy/facts.js';
import { MANY_POLICY, manyDomains, manyNetworks } from './peers/variants.js';
import type { Micro } from './results.js';
import { median } from './statistics.js';

// What is built is what runs: tsx makes slower code of the same source.
const built = (name: string): string => new URL(`../../dist/${name}.js`, import.meta.url).href;
const { LineScanner }: typeof import('../../src/smtp/line-scanner.js') = await import(
  built('smtp/line-scanner')
);
const { DataScanner }: typeof import('../../src/smtp/data-scanner.js') = await import(
  built('smtp/data-scanner')
);
const { parseCommand, DEFAULT_LENIENCY }: typeof import('../../src/smtp/command.js') = await import(
  built('smtp/command')
);
const { parsePath }: typeof import('../../src/smtp/address.js') = await import(built('smtp/address'));
const { readings }: typeof import('../../src/smtp/routes.js') = await import(built('smtp/routes'));
const { loadPolicy, renderError }: typeof import('../../src/policy/compile.js') = await import(
  built('policy/compile')
);
const { decide }: typeof import('../../src/policy/decide.js') = await import(built('policy/decide'));
const { parseIp }: typeof import('../../src/base/ip.js') = await import(built('base/ip'));
const { err, ok }: typeof import('../../src/base/result.js') = await import(built('base/result'));

const RUNS = 41;

/** Microseconds of CPU of this process so far. */
const now = (): number => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

/** Microseconds of CPU that `work` takes, which does `units` of what is counted. `ms`: about how long a run is. */
const time = (units: number, work: () => void, ms = 10): number => {
  let repeat = 1;
  for (;;) {
    const begun = now();
    for (let i = 0; i < repeat; i += 1) work();
    if (now() - begun > ms * 1_000) break;
    repeat *= 2;
  }
  const times = Array.from({ length: RUNS }, () => {
    const begun = now();
    for (let i = 0; i < repeat; i += 1) work();
    return (now() - begun) / (repeat * units);
  });
  return median(times);
};

const must = (holds: boolean, what: string): void => {
  if (!holds) throw new Error(`the micro-benchmark of ${what} does not do its work`);
};

const LINES = [
  'EHLO client.example',
  'MAIL FROM:<a@sender.example> SIZE=1024 BODY=8BITMIME',
  'RCPT TO:<u@local.example>',
  'DATA',
  'QUIT',
];

const framing = (): number => {
  const chunk = Buffer.from(`${LINES.join('\r\n')}\r\n`);
  return time(LINES.length, () => {
    const scanner = new LineScanner({ limit: 1_024 });
    scanner.push(chunk);
    let lines = 0;
    while (scanner.next().kind === 'line') lines += 1;
    must(lines === LINES.length, 'framing');
  });
};

/** A block of 64 KB, as sockets give them. */
const scan = (): number => {
  const block = Buffer.from(`${'x'.repeat(76)}\r\n`.repeat(840));
  const limits = { lineLimit: 998, overLong: 'reject', eightBit: 'pass', bareLf: 'reject' } as const;
  const scanner = new DataScanner(limits);
  let handed = 0;
  const per = time(block.length / 1e6, () => {
    must(scanner.scan(block, (view) => (handed += view.length)).kind === 'more', 'scanning');
  });
  must(handed > block.length, 'scanning');
  return per;
};

const commands = (): number => {
  const options = { utf8: false, smtpUtf8Available: false, leniency: DEFAULT_LENIENCY };
  const buffers = LINES.map((line) => Buffer.from(line));
  return time(buffers.length, () => {
    for (const buffer of buffers)
      must(parseCommand(buffer, 0, buffer.length, options).ok, 'parsing commands');
  });
};

const addresses = (): number => {
  const wires = ['<u@local.example>', '<"u v"@lab.example.org>', '<@a.example,@b.example:c%d@e.example>'];
  return time(wires.length, () => {
    for (const wire of wires) {
      const parsed = parsePath(wire, { utf8: false, nullAllowed: false });
      must(parsed.ok && readings(parsed.value).length > 0, 'parsing addresses');
    }
  });
};

/** Half allowed for their domain, half denied after all rules. */
const verdict = (): number => {
  const files: Readonly<Record<string, () => string>> = { networks: manyNetworks, domains: manyDomains };
  const loaded = loadPolicy('policy.yaml', MANY_POLICY, (name) => {
    const text = files[path.basename(name)]?.();
    return text === undefined ? err('no such file') : ok(text);
  });
  if (!loaded.ok) throw new Error(loaded.error.map(renderError).join('\n'));
  /** In the other half of a /24 of which one half is listed. */
  const clientOf = (i: number) => {
    const client = parseIp(`${20 + (i >>> 16)}.${(i >>> 8) & 255}.${i & 255}.200`);
    if (client === undefined) throw new Error('no address');
    return client;
  };
  const facts = (domain: string, i: number): Facts => ({
    ...{ client: clientOf(i), clientName: { known: true, value: undefined } },
    ...{ listener: 'mx', helo: 'client.example' },
    windows: { known: true, value: [] },
    from: { address: 'a@sender.example', domain: 'sender.example' },
    to: { address: `u@${domain}`, readings: [{ kind: 'domain', domain, via: 'plain' }] },
  });
  // Scattered, so that each looks elsewhere in the lists; made when they are judged, as in a session, which is not counted.
  const CASES = 8_192;
  const caseOf = (i: number): Facts => {
    const at = (i * 7_919) % 100_000;
    return facts(i % 2 === 0 ? `host${at}.example.net` : `host${at}.victim.example`, at);
  };
  let listener = 0;
  const making = time(CASES, () => {
    for (let i = 0; i < CASES; i += 1) listener += caseOf(i).listener.length;
  });
  must(listener > 0, 'verdicts');
  const both = time(CASES, () => {
    let allowed = 0;
    for (let i = 0; i < CASES; i += 1) if (decide(loaded.value, caseOf(i)).kind === 'allow') allowed += 1;
    must(allowed === CASES / 2, 'verdicts');
  });
  return both - making;
};

const WindowFigures = z.array(
  z.object({ store: z.string(), lookup: z.number(), memory: z.string(), start: z.number() }),
);

/** By windows.ts, which has a process for each store. */
const windows = (count: number, stores: readonly string[]): Micro[] => {
  const script = path.join(import.meta.dirname ?? 'test/bench', 'windows.ts');
  const args = ['--import=tsx', script, `${count}`, '--json', ...stores];
  const said = execFileSync(process.execPath, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return WindowFigures.parse(JSON.parse(said)).map(({ store, lookup, memory, start }) => ({
    name: `window lookup, ${store}`,
    unit: 'lookup',
    microseconds: lookup,
    note: `${count.toLocaleString('en')} open: ${memory}, starts in ${(start / 1_000).toFixed(1)} s`,
  }));
};

export const micro = (count: number, stores: readonly string[], tell: (text: string) => void): Micro[] => {
  const pieces: readonly (readonly [string, string, () => number, string])[] = [
    ['framing of command lines', 'line', framing, 'a pipelined session of five lines in one chunk'],
    ['scan of message data', 'MB', scan, 'blocks of 64 KB, lines of 78 octets'],
    ['parsing of commands', 'command', commands, 'EHLO, MAIL with parameters, RCPT, DATA, QUIT'],
    ['parsing of addresses, all readings', 'address', addresses, 'plain, quoted, source route with %'],
    [
      'verdict',
      'verdict',
      verdict,
      '100,000 networks and 100,000 domains, clients beside the listed networks, half of the recipients known',
    ],
  ];
  const figures = pieces.map(([name, unit, work, note]) => {
    const microseconds = work();
    tell(`${name}: ${microseconds.toFixed(3)} µs a ${unit}`);
    return { name, unit, microseconds, note };
  });
  return count === 0 ? figures : [...figures, ...windows(count, stores)];
};
