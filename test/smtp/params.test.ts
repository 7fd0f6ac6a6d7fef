import fc from 'fast-check';
import t from 'tap';
import type { Capabilities } from '../../src/smtp/capabilities.js';
import {
  filterParams,
  MAX_ENVID,
  MAX_ORCPT,
  type ParamVerb,
  paramAllowed,
  parseParams,
  printParam,
} from '../../src/smtp/params.js';
import { REPLIES } from '../../src/smtp/reply.js';

/** The parameters printed anew, or the reply. */
const parse = (verb: ParamVerb, text: string) => {
  const parsed = parseParams(verb, text);
  return parsed.ok ? parsed.value.map(printParam).join(' ') : parsed.error;
};

const A = (n: number): string => 'A'.repeat(n);

t.test('a keyword in lower case says the same', async () => {
  const size = fc.stringMatching(/^[0-9+x]{0,22}$/).map((value) => ` SIZE=${value}`);
  const word = fc.oneof(
    size,
    fc.constantFrom(' BODY=8BITMIME', ' BODY=7BIT', ' SIZE', ' BODY', ' RET=FULL', ' '),
  );
  fc.assert(
    fc.property(
      fc.array(word, { maxLength: 3 }),
      fc.constantFrom<ParamVerb>('MAIL', 'RCPT'),
      (words, verb) => {
        const text = words.join('');
        const lower = text.replace(/SIZE|BODY/g, (keyword) => keyword.toLowerCase());
        if (JSON.stringify(parse(verb, text)) !== JSON.stringify(parse(verb, lower))) throw new Error(text);
      },
    ),
    { numRuns: 5000 },
  );
});

t.test('MAIL', async (t) => {
  for (const [text, printed] of [
    ['', ''],
    [' size=100', 'SIZE=100'],
    ['  SIZE=0010   BODY=8bitmime', 'SIZE=10 BODY=8BITMIME'],
    [' SIZE=9007199254740991', 'SIZE=9007199254740991'],
    [' SIZE=00000000000000000001', 'SIZE=1'],
    [' BODY=7BIT SMTPUTF8', 'BODY=7BIT SMTPUTF8'],
    [' RET=hdrs ENVID=a+2Bb', 'RET=HDRS ENVID=a+2Bb'],
    [' AUTH=<>', ''],
    [' AUTH=a+40b.example SIZE=1', 'SIZE=1'],
    [` ENVID=${A(MAX_ENVID)}`, `ENVID=${A(MAX_ENVID)}`],
  ] as const)
    t.equal(parse('MAIL', text), printed, text);
  for (const text of [
    'SIZE',
    'SIZE=',
    'SIZE=-1',
    'SIZE=1.5',
    'SIZE=1e3',
    'SIZE=0x10',
    'SIZE=9007199254740992',
    'SIZE=000000000000000000001',
    'SIZE=99999999999999999999',
    'BODY',
    'BODY=9BIT',
    'SMTPUTF8=yes',
    'RET=ALL',
    'RET',
    `ENVID=${A(MAX_ENVID + 1)}`,
    'ENVID=a+0Ab',
    'ENVID=a+0Db',
    'ENVID=a+00b',
    'ENVID=a+7Fb',
    'ENVID=a+80b',
    'ENVID=a+2',
    'ENVID=a+2b',
    'ENVID=a=b',
    'ENVID=',
    'AUTH',
    'AUTH=a+0Ab',
    'AUTH=a b'.slice(0, 5),
  ])
    t.equal(parse('MAIL', ` ${text}`), REPLIES.badParameterValue, text);
  for (const text of [
    'XFOO=bar',
    'BODY=BINARYMIME',
    'NOTIFY=NEVER',
    'CONSTRUCTOR',
    'HOLDFOR=1',
    'BY=1',
    'MT-PRIORITY=1',
  ])
    t.equal(parse('MAIL', ` ${text}`), REPLIES.unknownParameter, text);
});

t.test('RCPT', async (t) => {
  for (const [text, printed] of [
    [' NOTIFY=never', 'NOTIFY=NEVER'],
    [' notify=success,DELAY,failure', 'NOTIFY=SUCCESS,DELAY,FAILURE'],
    [' ORCPT=rfc822;bob+2Bx@a.example', 'ORCPT=rfc822;bob+2Bx@a.example'],
    [` ORCPT=rfc822;${A(MAX_ORCPT - 7)}`, `ORCPT=rfc822;${A(MAX_ORCPT - 7)}`],
  ] as const)
    t.equal(parse('RCPT', text), printed, text);
  for (const text of [
    'NOTIFY',
    'NOTIFY=NEVER,DELAY',
    'NOTIFY=DELAY,DELAY',
    'NOTIFY=NEVER,NEVER',
    'NOTIFY=DELAY,',
    'NOTIFY=SOON',
    'ORCPT=bob@a.example',
    'ORCPT=rfc822;',
    'ORCPT=;x',
    'ORCPT=rfc822;a+0D+0Ab',
    'ORCPT=rfc822;a+00',
    'ORCPT=rfc822;a+FF',
    `ORCPT=rfc822;${A(MAX_ORCPT - 6)}`,
  ])
    t.equal(parse('RCPT', ` ${text}`), REPLIES.badParameterValue, text);
  for (const text of ['SIZE=1', 'SMTPUTF8', 'AUTH=<>', 'XRELAY=yes'])
    t.equal(parse('RCPT', ` ${text}`), REPLIES.unknownParameter, text);
});

t.test('what is no parameter', async (t) => {
  for (const text of [
    'x',
    'SIZE=1',
    '\tSIZE=1',
    ' @local.example',
    ' <b@local.example>',
    ' =1',
    ' -A=1',
    ' A_B',
    ' é=1',
  ])
    t.equal(parse('MAIL', text), REPLIES.badArgument, text);
  for (const text of [' SIZE=1 size=1', ' AUTH=<> AUTH=<>', ' BODY=7BIT BODY=8BITMIME'])
    t.equal(parse('MAIL', text), REPLIES.duplicateParameter, text);
});

const NOTHING = {
  esmtp: false,
  pipelining: false,
  eightBitMime: false,
  smtpUtf8: false,
  dsn: false,
  size: undefined,
} as unknown as Capabilities;

t.test('only what is advertised is allowed and printed', async (t) => {
  const rows: readonly [ParamVerb, string, Partial<Capabilities>][] = [
    ['MAIL', 'BODY', { eightBitMime: true }],
    ['MAIL', 'SMTPUTF8', { smtpUtf8: true }],
    ['MAIL', 'RET', { dsn: true }],
    ['MAIL', 'ENVID', { dsn: true }],
    ['RCPT', 'NOTIFY', { dsn: true }],
    ['RCPT', 'ORCPT', { dsn: true }],
  ];
  for (const [verb, keyword, caps] of rows) {
    const params = [{ keyword, value: undefined }];
    t.notOk(paramAllowed(verb, keyword, NOTHING), keyword);
    t.same(filterParams(params, verb, NOTHING), [], keyword);
    t.ok(paramAllowed(verb, keyword, { ...NOTHING, ...caps }), keyword);
    t.same(filterParams(params, verb, { ...NOTHING, ...caps }), params, keyword);
  }
  const size = [{ keyword: 'SIZE', value: '1' }];
  t.ok(paramAllowed('MAIL', 'SIZE', NOTHING), 'enforced here');
  t.same(filterParams(size, 'MAIL', NOTHING), []);
  t.same(filterParams(size, 'MAIL', { ...NOTHING, size: 0 }), size, 'SIZE without a limit is advertised too');
  t.notOk(paramAllowed('RCPT', 'SIZE', { ...NOTHING, size: 0 }));
  t.notOk(paramAllowed('MAIL', 'AUTH', { ...NOTHING, dsn: true }));
});

t.test('parse after print is identity', async (t) => {
  const param = fc.constantFrom(
    ...[
      'SIZE=1',
      'size=007',
      'BODY=8BITMIME',
      'SMTPUTF8',
      'RET=full',
      'ENVID=x+20y',
      'AUTH=<>',
      'X=1',
      'SIZE=x',
    ],
    ...['NOTIFY=DELAY', 'ORCPT=rfc822;a', '=', ' '],
  );
  let parsed = 0;
  fc.assert(
    fc.property(
      fc.constantFrom<ParamVerb>('MAIL', 'RCPT'),
      fc.array(param, { maxLength: 4 }),
      (verb, words) => {
        const printed = parse(verb, words.map((word) => ` ${word}`).join(''));
        if (typeof printed !== 'string') return true;
        parsed += 1;
        return parse(verb, printed === '' ? '' : ` ${printed}`) === printed;
      },
    ),
    { numRuns: 1000 },
  );
  t.ok(parsed > 50, `${parsed} of them parse`);
});
