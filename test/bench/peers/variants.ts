/** Sekisho with more switched on than a default installation has. */
import { readFileSync, rmSync } from 'node:fs';
import { certify } from '../../support/certificates.js';
import { freePort, install } from '../../support/packages.js';
import { launch, type Running, scratch } from './running.js';
import { POLICY, sekisho } from './sekisho.js';

const MANY = 100_000;

/** So many networks and domains that are listed, and none of which the clients' are. */
export const manyNetworks = (): string =>
  Array.from({ length: MANY }, (_, i) => `${20 + (i >>> 16)}.${(i >>> 8) & 255}.${i & 255}.0/25`).join('\n');
export const manyDomains = (): string =>
  Array.from({ length: MANY }, (_, i) => `host${i}.example.net`).join('\n');

export const MANY_POLICY = `version: 1
networks:
  many: [{ file: networks }]
domains:
  ours: [local.example]
  many: [{ file: domains }]
rules:
  - { name: banned, deny: { client: many } }
  - { name: inbound, allow: { to: [ours, many] } }
  - { name: roaming users who fetched mail just now, allow: { window: any, from: many } }
`;

export const withCidrs = (target: number): Promise<Running> =>
  sekisho(target, {
    policy: MANY_POLICY,
    files: { networks: `${manyNetworks()}\n`, domains: `${manyDomains()}\n` },
  });

export const LOGIN = Buffer.from('\0bench\0Correct-Horse-7').toString('base64');

export const withAuth = (target: number): Promise<Running> =>
  sekisho(target, {
    policy: `${POLICY}senders:
  - { login: bench, from: sender.example }
`,
    more: `logins: [{ passwd_file: users }]
devices: [{ name: bench, networks: [127.0.0.0/8], plaintext_auth: true }]
`,
    files: { users: 'bench:{PLAIN}Correct-Horse-7\n' },
  });

export const withStartTls = (target: number): Promise<Running> => {
  const dir = scratch();
  const { cert, key } = certify(dir, 'sekisho.example');
  const files = { 'cert.pem': readFileSync(cert, 'utf8'), 'key.pem': readFileSync(key, 'utf8') };
  rmSync(dir, { recursive: true });
  return sekisho(target, { more: 'tls: { cert: cert.pem, key: key.pem }\n', files });
};

export const withLmdb = async (target: number, more = ''): Promise<Running> => {
  const state = scratch();
  const running = await sekisho(target, { more: `store: { lmdb: ${state} }\n${more}` });
  return {
    ...running,
    stop: async () => {
      await running.stop();
      rmSync(state, { recursive: true, force: true });
    },
  };
};

/** Under one supervisor, whose CPU counts with theirs. They need a store that they share. */
export const twoProcesses = (target: number): Promise<Running> => withLmdb(target, 'processes: 2\n');

/** The CPU is Sekisho's own; Redis's comes on top. */
export const withRedis = async (target: number): Promise<Running> => {
  await install(['redis-server']);
  const [dir, port] = [scratch(), await freePort()];
  const args = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'no'];
  const redis = await launch({ port, command: ['redis-server', ...args], dir, greets: false });
  try {
    const running = await sekisho(target, { more: `store: { redis: "redis://127.0.0.1:${port}/0" }\n` });
    return {
      ...running,
      stop: async () => {
        await running.stop();
        await redis.stop();
      },
    };
  } catch (error) {
    await redis.stop();
    throw error;
  }
};
