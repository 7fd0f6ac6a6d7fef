/** A real HAProxy that passes connections on with a PROXY header. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Test } from 'tap';
import { freePort, libraryPath, unpack } from './packages.js';
import { folder } from './process.js';
import { SmtpClient } from './smtp-client.js';

const servers = (targets: readonly number[], way: string): string =>
  targets.map((port, i) => `  server target${i} 127.0.0.1:${port} ${way}\n`).join('');

const configuration = (
  targets: readonly number[],
  ways: readonly string[],
  ports: readonly number[],
): string => `global
  maxconn 200
defaults
  mode tcp
  option smtpchk EHLO haproxy.example
  timeout connect 10s
  timeout client 60s
  timeout server 60s
  balance roundrobin
  option redispatch 1
${ways.map((way, i) => `listen way${i}\n  bind 127.0.0.1:${ports[i]}\n${servers(targets, way)}`).join('')}`;

const answers = async (port: number): Promise<boolean> => {
  try {
    (await SmtpClient.connect(port)).destroy();
    return true;
  } catch {
    return false;
  }
};

/** Shares connections out over `targets`. The words behind `server` for each port: `send-proxy`, `send-proxy-v2`, `check` … */
export const startHaproxy = async (
  t: Test,
  targets: number | readonly number[],
  ways: readonly string[],
): Promise<number[]> => {
  const root = await unpack('haproxy', ['libopentracing1', 'libopentracing-c-wrapper0']);
  const dir = folder(t);
  const file = path.join(dir, 'haproxy.cfg');
  let said = '';
  // A port that was free a moment ago may be another test's by now: then HAProxy ends, and other ports are tried.
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const chosen = new Set<number>();
    while (chosen.size < ways.length) chosen.add(await freePort());
    const ports = [...chosen];
    writeFileSync(file, configuration([targets].flat(), ways, ports));
    const child = spawn(path.join(root, 'usr/sbin/haproxy'), ['-db', '-f', file], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LD_LIBRARY_PATH: libraryPath(root) },
    });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += String(chunk)));
    const ended = once(child, 'close');
    t.teardown(async () => {
      child.kill('SIGKILL');
      await ended;
    });
    for (let tries = 0; tries < 150 && child.exitCode === null; tries += 1) {
      // One that cannot have a port says so within moments; another's listener would answer in its stead.
      await new Promise((resolve) => setTimeout(resolve, 200));
      const all = await Promise.all(ports.map(answers));
      if (child.exitCode === null && all.every(Boolean)) return ports;
    }
  }
  throw new Error(`haproxy does not answer: ${said}`);
};
