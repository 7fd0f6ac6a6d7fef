/** False refusals are as bad as misses: legitimate mail passes with everything on, octet for octet, however it is cut. */
import t from 'tap';
import { MessageStream } from '../../src/proxy/message-stream.js';
import { DEFAULT_DATA, DEFAULT_LIMITS, DEFAULT_TIMEOUTS } from '../../src/proxy/options.js';
import { PRESET_NAMES, presetMode } from '../../src/shield/presets.js';
import { type ShieldRules, shieldRules } from '../../src/shield/rules.js';
import { NO_CAPABILITIES } from '../../src/smtp/capabilities.js';
import { Dice, HABITS, legitimate } from '../support/legitimate.js';

const COUNT = 2_400;

/** What goes on, and why not. */
const pass = (message: Buffer, sizes: (left: number) => number, rules: ShieldRules) => {
  const out: Buffer[] = [];
  const hits: string[] = [];
  const target = {
    preset: 'strict',
    capabilities: NO_CAPABILITIES,
    data: (view: Buffer) => {
      out.push(Buffer.from(view));
      return true;
    },
    endData: () => {},
  };
  const stream = new MessageStream(DEFAULT_DATA, DEFAULT_LIMITS, DEFAULT_TIMEOUTS, 'token', {
    rules: () => rules,
    onHit: ({ patch, what }) => hits.push(`${patch}: ${what}`),
  });
  stream.begin(target as never, { eightBit: true, utf8: false });
  const wire = Buffer.concat([message, Buffer.from('.\r\n')]);
  for (let at = 0; at < wire.length; ) {
    const size = Math.max(1, sizes(wire.length - at));
    const { refused, fault } = stream.take(wire.subarray(at, at + size));
    if (refused !== undefined) hits.push(`refused ${refused.code} ${refused.lines[0]}`);
    if (fault !== undefined) hits.push(fault);
    at += size;
  }
  return { octets: Buffer.concat(out), hits };
};

const rulesOf = (name: (typeof PRESET_NAMES)[number]): ShieldRules =>
  shieldRules(presetMode(name), DEFAULT_LIMITS.headerBytes);

t.test(`${COUNT} messages, all patches on`, async (t) => {
  const rules = rulesOf('strict');
  const dice = new Dice(7);
  const ways: readonly ((left: number) => number)[] = [
    (left) => left,
    () => 1 + dice.upTo(1_400),
    () => 1_448,
    (left) => (left < 3_000 ? 1 : 4_096),
  ];
  let octets = 0;
  for (let n = 0; n < COUNT; n += 1) {
    const { habit, message } = legitimate(n);
    octets += message.length;
    // All ways for the first of each habit, then they take turns.
    const chosen =
      n < Object.keys(HABITS).length * 5 ? ways : [ways[n % ways.length] as (left: number) => number];
    for (const way of chosen) {
      const { octets: passed, hits } = pass(message, way, rules);
      if (hits.length > 0 || !passed.equals(message)) t.fail(`${habit} (${n}): ${hits.join(', ')}`);
    }
  }
  t.ok(octets > COUNT * 1_000, `${octets} octets in ${Object.keys(HABITS).length} habits`);
});

t.test('every preset lets them pass', async (t) => {
  for (const name of PRESET_NAMES) {
    const rules = rulesOf(name);
    for (let n = 0; n < 300; n += 1) {
      const { habit, message } = legitimate(n, 2);
      const { hits } = pass(message, (left) => left, rules);
      // Exchange's holes are told of and not closed: a legitimate winmail.dat is too common.
      const told = hits.filter((hit) => !(name === 'exchange' && hit.startsWith('tnef')));
      if (told.length > 0) t.fail(`${name}: ${habit} (${n}): ${told.join(', ')}`);
    }
    t.pass(name);
  }
});
