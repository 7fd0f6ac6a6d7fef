/**
 * The trust audit: is an installation as safe as its owner believes? It looks, asks and connects; it changes nothing and
 * delivers nothing.
 */
import { networkInterfaces } from 'node:os';
import type { Setup } from '../app/config.js';
import { parseIp } from '../base/ip.js';
import { certificateFindings } from './certificates.js';
import { clientFindings, type LogClients } from './clients.js';
import { filesFindings } from './files.js';
import { type Finding, type Here, SUBJECTS } from './finding.js';
import { limitFindings } from './limits.js';
import { listenerFindings } from './listeners.js';
import { policyFindings } from './policy.js';
import { resolverFindings } from './resolver.js';
import { upstreamFindings } from './upstream.js';

/** This host. `patience`: milliseconds for each answer. */
export const thisHost = (patience: number): Here => ({
  addresses: Object.values(networkInterfaces())
    .flat()
    .flatMap((each) => (each === undefined || each.internal ? [] : (parseIp(each.address)?.text ?? [])))
    .filter((address) => !address.startsWith('fe80:') && !address.startsWith('169.254.')),
  now: Date.now,
  patience,
  root: '/',
});

/** All findings, by subject in the order of `SUBJECTS`. */
export const examine = async (
  setup: Setup,
  here: Here,
  log: LogClients | undefined,
): Promise<readonly Finding[]> => {
  const found = (
    await Promise.all([
      policyFindings(setup),
      listenerFindings(setup, here),
      upstreamFindings(setup, here),
      clientFindings(setup, here, log),
      certificateFindings(setup, here),
      resolverFindings(setup, here),
      filesFindings(setup),
      limitFindings(setup, here),
    ])
  ).flat();
  return SUBJECTS.flatMap((subject) => found.filter((each) => each.subject === subject));
};
