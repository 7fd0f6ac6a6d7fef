/** Everybody who stands between the generator and the mail server. */
import type { LoadOptions } from '../generator.js';
import type { SinkKind } from '../workloads.js';
import { haproxy } from './haproxy.js';
import { haraka } from './haraka.js';
import { nginx } from './nginx.js';
import { postfix } from './postfix.js';
import type { Running } from './running.js';
import { sekisho } from './sekisho.js';
import { sendmail } from './sendmail.js';
import { fastSink, smtpSink } from './sinks.js';
import { LOGIN, twoProcesses, withAuth, withCidrs, withLmdb, withRedis, withStartTls } from './variants.js';

export interface Subject {
  readonly name: string;
  /** Starts it in front of a port; none: the generator talks to the mail server itself. */
  readonly start?: (target: number) => Promise<Running>;
  /** What the generator does otherwise for it. */
  readonly load?: LoadOptions;
}

export const SUBJECTS: readonly Subject[] = [
  { name: 'direct' },
  { name: 'haproxy', start: haproxy },
  { name: 'nginx', start: nginx },
  { name: 'postfix', start: postfix },
  { name: 'haraka', start: haraka },
  { name: 'sekisho', start: (target) => sekisho(target) },
  { name: 'sekisho-cidrs', start: withCidrs },
  { name: 'sekisho-auth', start: withAuth, load: { auth: LOGIN } },
  { name: 'sekisho-starttls', start: withStartTls, load: { tls: 1 } },
  { name: 'sekisho-lmdb', start: (target) => withLmdb(target) },
  { name: 'sekisho-2', start: twoProcesses },
  { name: 'sekisho-redis', start: withRedis },
];

export const SINKS: Readonly<Record<SinkKind, (refuse: boolean) => Promise<Running>>> = {
  'smtp-sink': smtpSink,
  fast: (refuse) => fastSink(refuse),
  'sendmail-memory': () => sendmail('memory'),
  'sendmail-disk': () => sendmail('disk'),
};
