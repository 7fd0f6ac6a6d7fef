/** Does Sekisho run, and does it say that it can do its work? */
import http from 'node:http';
import https from 'node:https';
import { z } from 'zod';
import type { Setup } from '../app/config.js';
import type { AdminSetup } from '../app/config-admin.js';
import { safeText } from '../smtp/reply.js';
import { firstLine, placeText } from './connect.js';
import { type Finding, finding, type Here } from './finding.js';

/** Where a listener is reached from this host. */
const nearest = (host: string): string => {
  if (host === '' || host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
};

const listener = async (
  { name, host, port }: { readonly name: string; readonly host: string; readonly port: number },
  patience: number,
): Promise<Finding> => {
  const place = { host: nearest(host), port };
  const said = await firstLine(place, Math.min(patience, 5_000));
  if (said.ok)
    return finding(
      'listeners',
      'ok',
      `${name}: ${placeText(place)} takes connections${said.value === '' ? '' : `: ${safeText(said.value)}`}`,
    );
  return finding(
    'listeners',
    'warn',
    `${name}: nobody listens at ${placeText(place)} (${said.error})`,
    'Start Sekisho: systemctl start sekisho, and see journalctl -u sekisho. Clients get no answer until then.',
  );
};

const Ready = z.object({
  ready: z.boolean(),
  checks: z.record(z.string(), z.object({ ok: z.boolean(), detail: z.string().optional() })),
});

/** The body of /readyz, or why there is none. */
const askReady = ({ place, tls }: AdminSetup, patience: number): Promise<string | Error> =>
  new Promise((resolve) => {
    const where =
      place.kind === 'tcp' ? { host: nearest(place.host), port: place.port } : { socketPath: place.path };
    // The certificate is the endpoint's own affair: nothing secret is sent, and it is asked at an address of this host.
    const options = { ...where, path: '/readyz', timeout: patience, rejectUnauthorized: false };
    const request = (tls === undefined ? http : https).get(options, (answer) => {
      let body = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk: string) => {
        body += chunk;
        if (body.length > 65_536) answer.destroy(new Error('more than 64 KB'));
      });
      answer.on('end', () => resolve(body));
      answer.on('error', resolve);
    });
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.on('error', resolve);
  });

const readiness = async (admin: AdminSetup, patience: number): Promise<readonly Finding[]> => {
  const body = await askReady(admin, patience);
  if (body instanceof Error)
    return [
      finding(
        'listeners',
        'warn',
        `the admin endpoint does not answer: ${body.message}`,
        'It runs within sekisho serve: does that run, with this configuration?',
      ),
    ];
  let read: z.output<typeof Ready> | undefined;
  try {
    read = Ready.parse(JSON.parse(body));
  } catch {
    return [
      finding(
        'listeners',
        'warn',
        'what answers at the admin endpoint is not Sekisho',
        'Which process has that port?',
      ),
    ];
  }
  const failing = Object.entries(read.checks).filter(([, { ok }]) => !ok);
  if (failing.length === 0) return [finding('listeners', 'ok', 'Sekisho says that it is ready')];
  return failing.map(([name, { detail }]) =>
    finding(
      'listeners',
      'fault',
      `Sekisho says that it is not ready: ${name}: ${safeText(detail ?? 'no reason given')}`,
      'The log says more.',
    ),
  );
};

export const listenerFindings = async (setup: Setup, here: Here): Promise<readonly Finding[]> => {
  const listeners = [
    ...setup.proxy.listeners,
    ...setup.mailProxies.map(({ name, host, port }) => ({ name, host, port })),
  ];
  const [each, ready] = await Promise.all([
    Promise.all(listeners.map((one) => listener(one, here.patience))),
    setup.admin === undefined ? [] : readiness(setup.admin, here.patience),
  ]);
  return [...each, ...ready];
};
