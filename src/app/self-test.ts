/** The self-test of the relay, at the start and after each reload. */
import { isIPv4 } from 'node:net';
import type { Note } from '../base/events.js';
import { type SelfTest, selfTest } from '../policy/self-test.js';
import type { ProxyOptions } from '../proxy/options.js';

type Place = Pick<ProxyOptions, 'listeners' | 'hostname' | 'ownName'>;

/** Tries the policy on the listeners where nobody has to log in first. */
export const tryRelaying = (
  policy: ProxyOptions['policy'],
  { listeners, hostname, ownName }: Place,
): SelfTest =>
  selfTest(policy, {
    listeners: listeners.filter(({ requireLogin }) => !requireLogin).map(({ name }) => name),
    host: hostname ?? ownName,
    ip: listeners.find(({ host }) => isIPv4(host) && host !== '0.0.0.0')?.host ?? '127.0.0.1',
  });

/** The same, and tells what came out. */
export const runSelfTest = (policy: ProxyOptions['policy'], place: Place, note: Note): void =>
  note({ type: 'self-test', policy: policy.source, ...tryRelaying(policy, place) });
