/** What is sent, and how it is counted. */

export type SinkKind = 'smtp-sink' | 'fast' | 'sendmail-memory' | 'sendmail-disk';

export interface Workload {
  readonly name: string;
  readonly title: string;
  readonly sink: SinkKind;
  /** The sink refuses every recipient. */
  readonly refuses?: boolean;
  /** What the generator is told. */
  readonly load: Readonly<Record<string, number | string>>;
  /** Each process of a subject gets this part of a core and no more. */
  readonly held?: number;
  /** What a second generator, that has its sessions open meanwhile, is told. */
  readonly beside?: Readonly<Record<string, number | string>>;
  readonly unit: 'message' | 'MB' | 'attempt' | 'session' | 'idle session';
  /** Who is measured by default. */
  readonly subjects: readonly string[];
}

const LARGE = 5_000_000;
const PEERS = ['direct', 'haproxy', 'nginx', 'postfix', 'haraka', 'sekisho'];
/** With the fastest sink: those that are fast enough to tell. */
const FAST = ['direct', 'haproxy', 'nginx', 'sekisho'];
/** One process, one with the store that two share, and two. */
const TOGETHER = ['sekisho', 'sekisho-lmdb', 'sekisho-2'];

const FRONT: readonly Workload[] = [
  {
    name: 'W1',
    title: 'one message of 1 KB a connection, smtp-sink',
    sink: 'smtp-sink',
    load: { connections: 16 },
    unit: 'message',
    subjects: PEERS,
  },
  {
    name: 'W2',
    title: '100 messages of 1 KB a connection, smtp-sink',
    sink: 'smtp-sink',
    load: { connections: 16, messages: 100 },
    unit: 'message',
    subjects: PEERS,
  },
  {
    name: 'W3',
    title: 'messages of 5 MB, smtp-sink',
    sink: 'smtp-sink',
    load: { connections: 4, size: LARGE },
    unit: 'MB',
    subjects: PEERS,
  },
  {
    name: 'W4',
    title: 'refused attempts to relay, one a connection, smtp-sink',
    sink: 'smtp-sink',
    refuses: true,
    load: { connections: 16, refused: 100 },
    unit: 'attempt',
    subjects: PEERS,
  },
  {
    name: 'W5',
    title: 'idle sessions after EHLO',
    sink: 'fast',
    load: { idle: 10_000 },
    unit: 'idle session',
    // Postfix has a process for each.
    subjects: PEERS.filter((each) => each !== 'direct' && each !== 'postfix'),
  },
  {
    name: 'F1',
    title: 'one message of 1 KB a connection, a very fast sink',
    sink: 'fast',
    load: { connections: 16 },
    unit: 'message',
    subjects: FAST,
  },
  {
    name: 'F3',
    title: 'messages of 5 MB, a very fast sink',
    sink: 'fast',
    load: { connections: 4, size: LARGE },
    unit: 'MB',
    subjects: FAST,
  },
  {
    name: 'L1',
    title: 'one client at a time, one message of 1 KB a connection, smtp-sink: what is added to a session',
    sink: 'smtp-sink',
    load: { connections: 1 },
    unit: 'message',
    subjects: PEERS,
  },
  {
    name: 'X1',
    title: 'W1 while 1,000 slow clients send an octet a second, smtp-sink',
    sink: 'smtp-sink',
    load: { connections: 16 },
    beside: { idle: 1_000, drip: 1_000 },
    unit: 'message',
    subjects: FAST,
  },
  {
    name: 'P2',
    title: 'one process and two: one message of 1 KB a connection, a very fast sink',
    sink: 'fast',
    load: { connections: 16 },
    unit: 'message',
    subjects: TOGETHER,
  },
  {
    name: 'P2-room',
    title: 'the same, each process held to 40 % of a core, so that generator and mail server have room',
    sink: 'fast',
    load: { connections: 16 },
    held: 0.4,
    unit: 'message',
    subjects: TOGETHER,
  },
  {
    name: 'V1',
    title: 'Sekisho with more switched on: one session a connection, half of them refused, a very fast sink',
    sink: 'fast',
    load: { connections: 16, refused: 50 },
    unit: 'session',
    subjects: [
      'sekisho',
      'sekisho-cidrs',
      'sekisho-auth',
      'sekisho-starttls',
      'sekisho-lmdb',
      'sekisho-redis',
    ],
  },
];

/** Fewer at once than sendmail's listen queue is long, or connects would wait a second. */
const CLIENTS = 8;

const mta = (
  where: 'memory' | 'disk',
  name: string,
  title: string,
  load: Workload['load'],
  unit: Workload['unit'] = 'message',
  subjects: readonly string[] = ['direct', 'sekisho'],
): Workload => ({
  name: `${name}-${where}`,
  title: `sendmail, queue ${where === 'memory' ? 'in memory' : 'on disk'}: ${title}`,
  sink: `sendmail-${where}`,
  load: { connections: CLIENTS, ...load },
  unit,
  subjects,
});

const BEHIND: readonly Workload[] = (['memory', 'disk'] as const).flatMap((where) => [
  mta(where, 'S1', 'one message a connection', {}, 'message', ['direct', 'haproxy', 'sekisho']),
  mta(where, 'S50', '50 messages a connection', { messages: 50 }),
  mta(where, 'SA', 'legitimate messages among 90 % refused attempts', { refused: 90 }),
  mta(where, 'SR', 'only refused attempts', { refused: 100 }, 'attempt'),
]);

export const WORKLOADS: readonly Workload[] = [...FRONT, ...BEHIND];

/** How many units so many messages and refused attempts are. */
export const unitsOf = (
  { unit, load }: Workload,
  done: { readonly messages: number; readonly refused: number },
): number => {
  if (unit === 'attempt') return done.refused;
  if (unit === 'session') return done.messages + done.refused;
  return unit === 'MB' ? (done.messages * Number(load.size)) / 1e6 : done.messages;
};
