import { mkdtempSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { freePort } from '../../support/packages.js';
import { prepareSendmail } from '../../support/sendmail.js';
import { launch, type Running } from './running.js';

/** The magic number of tmpfs (statfs(2)). */
const TMPFS = 0x01021994;

const inMemory = (place: string): boolean => {
  try {
    return statfsSync(place).type === TMPFS;
  } catch {
    return false;
  }
};

const place = (where: 'memory' | 'disk'): string => {
  const all = where === 'memory' ? ['/dev/shm', '/run', '/tmp'] : ['/var/tmp', os.tmpdir(), process.cwd()];
  const fit = all.find((each) => inMemory(each) === (where === 'memory'));
  if (fit === undefined)
    throw new Error(`no folder ${where === 'memory' ? 'in memory' : 'on a disk'} for the queue`);
  return fit;
};

const NAMES = `127.0.0.1 legacy.example.test legacy localhost
${Array.from({ length: 16 }, (_, i) => `127.0.0.${i + 2} client${i + 2}.example.test\n`).join('')}`;

/**
 * A real sendmail that only queues. It relays for anybody but to victim.example, so that it refuses what Sekisho refuses.
 */
export const sendmail = async (where: 'memory' | 'disk'): Promise<Running> => {
  const port = await freePort();
  const queue = mkdtempSync(path.join(place(where), 'sekisho-bench-queue-'));
  const { dir, script, env } = await prepareSendmail(port, {
    ...{ queue, traffic: false, refuses: 'victim.example' },
  });
  // It looks up each client's name, and no DNS shall be asked for that.
  writeFileSync(path.join(dir, 'names'), NAMES);
  writeFileSync(path.join(dir, 'nsswitch'), 'passwd: files\ngroup: files\nhosts: files\nservices: files\n');
  const mounts = `mount --bind ${dir}/names /etc/hosts; mount --bind ${dir}/nsswitch /etc/nsswitch.conf`;
  const command = ['unshare', '--uts', '--mount', 'sh', '-c', `${mounts}; ${script}`] as const;
  const running = await launch({ port, command, env, dir });
  return {
    ...running,
    tidy: () => {
      for (const name of readdirSync(queue)) rmSync(path.join(queue, name), { force: true });
    },
    stop: async () => {
      await running.stop();
      rmSync(queue, { recursive: true, force: true });
    },
  };
};
