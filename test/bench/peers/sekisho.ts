import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { freePort } from '../../support/packages.js';
import { BUILT } from '../../support/process.js';
import { launch, type Running, scratch } from './running.js';

export const POLICY = `version: 1
networks:
  campus: [192.0.2.0/24, "2001:db8:130::/48"]
domains:
  ours: [local.example, .lab.example.org]
rules:
  - { name: inbound, allow: { to: ours } }
  - { name: from our own networks, allow: { client: campus } }
  - { name: roaming users who logged in, allow: { login: any, tls: true } }
  - { name: roaming users who fetched mail just now, allow: { window: any, from: ours } }
`;

export interface SekishoOptions {
  /** YAML after what every installation has. */
  readonly more?: string;
  readonly policy?: string;
  /** Files in the folder of the configuration. */
  readonly files?: Readonly<Record<string, string>>;
  /** What stands before the command, as `taskset -c 1`. */
  readonly before?: readonly [string, ...string[]];
}

const configuration = (port: number, target: number, admin: number, more: string): string => `
listen: [{ name: mx, host: 127.0.0.1, port: ${port} }]
upstream: { host: 127.0.0.1, port: ${target} }
policy: policy.yaml
hostname: sekisho.example
admin: { listen: 127.0.0.1:${admin} }
${more}`;

/** As it is installed, with all that is on by default: policy, Received line, log at info, metrics, limits, patches. */
export const sekisho = async (
  target: number,
  { more = '', policy = POLICY, files = {}, before }: SekishoOptions = {},
): Promise<Running & { readonly admin: number }> => {
  const [dir, port, admin] = [scratch(), await freePort(), await freePort()];
  const file = path.join(dir, 'sekisho.yaml');
  const all = { 'policy.yaml': policy, 'sekisho.yaml': configuration(port, target, admin, more), ...files };
  for (const [name, text] of Object.entries(all)) writeFileSync(path.join(dir, name), text, { mode: 0o600 });
  const serve = [BUILT, 'serve', '--config', file] as const;
  const command: readonly [string, ...string[]] =
    before === undefined ? [process.execPath, ...serve] : [...before, process.execPath, ...serve];
  return { ...(await launch({ port, command, dir })), admin };
};
