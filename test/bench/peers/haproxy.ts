import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { freePort, libraryPath, unpack } from '../../support/packages.js';
import { DESCRIPTORS, launch, type Running, scratch } from './running.js';

/** HAProxy in TCP mode with one thread: it passes octets on and knows nothing of mail. */
export const haproxy = async (target: number): Promise<Running> => {
  const root = await unpack('haproxy', ['libopentracing1', 'libopentracing-c-wrapper0']);
  const [dir, port] = [scratch(), await freePort()];
  const file = path.join(dir, 'haproxy.cfg');
  // Two descriptors for each, and some of its own.
  const most = Math.floor((DESCRIPTORS - 200) / 2);
  writeFileSync(
    file,
    `global
  nbthread 1
  maxconn ${most}
defaults
  mode tcp
  maxconn ${most}
  timeout connect 10s
  timeout client 300s
  timeout server 300s
listen smtp
  bind 127.0.0.1:${port} backlog 4096
  server mta 127.0.0.1:${target}
`,
  );
  return launch({
    port,
    command: [path.join(root, 'usr/sbin/haproxy'), '-db', '-f', file],
    env: { LD_LIBRARY_PATH: libraryPath(root) },
    dir,
  });
};
