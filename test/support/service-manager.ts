/**
 * A service manager as systemd is one for a single service: it binds the sockets and keeps them, starts the service with
 * them, and hears what the service says of itself. Written in Python, since it stands for somebody else.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Test } from 'tap';
import { install } from './packages.js';
import { BUILT, folder } from './process.js';
import { eventually } from './sekisho.js';

const MANAGER = `
import fcntl, json, os, socket, subprocess, sys, threading
want = json.loads(sys.argv[1])
lock = threading.Lock()
def say(**what):
    with lock:
        print(json.dumps(what), flush=True)
sockets = []
for host in want["sockets"]:
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    s.bind((host, 0)); s.listen(64); sockets.append(s)
say(ports=[s.getsockname()[1] for s in sockets])
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
place = want["notify"]
notify.bind("\\0" + place[1:] if place.startswith("@") else place)
def hear():
    while True:
        said = notify.recv(65536).decode()
        say(told=dict(line.split("=", 1) for line in said.split("\\n")))
threading.Thread(target=hear, daemon=True).start()
child = None
def start(argv):
    global child
    keep = [s.fileno() for s in sockets]
    def prepare():
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 200) for fd in keep]
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i)
            os.close(fd)
    own = {**os.environ, **want["env"], "NOTIFY_SOCKET": place}
    if keep:
        own["LISTEN_FDS"] = str(len(keep))
    # The shell's process becomes the service's.
    child = subprocess.Popen(["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"] + argv, preexec_fn=prepare, close_fds=False,
        env=own, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    def read(one):
        for line in one.stdout: say(line=line.rstrip("\\n"))
        say(ended=one.wait())
    threading.Thread(target=read, args=(child,), daemon=True).start()
for line in sys.stdin:
    what = json.loads(line)
    if "start" in what: start(what["start"])
    if "signal" in what and child.poll() is None: child.send_signal(what["signal"])
if child is not None and child.poll() is None: child.kill(); child.wait()
`;

export interface Managed {
  /** Addresses whose ports the kernel chooses. */
  readonly sockets?: readonly string[];
  /** A name in no file system, or else a path. */
  readonly abstract?: boolean;
  readonly env?: Readonly<Record<string, string>>;
}

export class Manager {
  ports: readonly number[] = [];
  /** What it was told, in order. */
  readonly told: Readonly<Record<string, string>>[] = [];
  lines = '';
  /** Exit codes, in order. */
  readonly ended: number[] = [];

  private constructor(private readonly child: ChildProcess) {
    if (child.stdout === null) throw new Error('no output');
    createInterface({ input: child.stdout }).on('line', (line) => this.#hear(JSON.parse(line)));
  }

  static async run(t: Test, { sockets = [], abstract = false, env = {} }: Managed): Promise<Manager> {
    await install(['python3']);
    const dir = folder(t);
    const script = path.join(dir, 'manager.py');
    writeFileSync(script, MANAGER);
    const notify = abstract ? `@sekisho-test-${process.pid}-${Date.now()}` : path.join(dir, 'notify');
    // What the test runner loads into every Node process is not the program's.
    const want = JSON.stringify({ sockets, notify, env: { NODE_OPTIONS: '', ...env } });
    const child = spawn('python3', [script, want], { stdio: ['pipe', 'pipe', 'inherit'] });
    const manager = new Manager(child);
    t.teardown(async () => {
      const over = new Promise((resolve) => child.once('close', resolve));
      child.stdin?.end();
      await over;
    });
    await eventually('the sockets', () => manager.ports.length === sockets.length, 60_000);
    return manager;
  }

  #hear(said: { ports?: number[]; told?: Record<string, string>; line?: string; ended?: number }): void {
    if (said.ports !== undefined) this.ports = said.ports;
    if (said.told !== undefined) this.told.push(said.told);
    if (said.line !== undefined) this.lines += `${said.line}\n`;
    if (said.ended !== undefined) this.ended.push(said.ended);
  }

  start(args: readonly string[], main = BUILT): void {
    this.#do({ start: [process.execPath, main, ...args] });
  }

  signal(number: number): void {
    this.#do({ signal: number });
  }

  #do(what: object): void {
    this.child.stdin?.write(`${JSON.stringify(what)}\n`);
  }

  /** How often it was told so. */
  count(field: string): number {
    return this.told.filter((each) => field in each).length;
  }

  async until(what: string, holds: () => boolean): Promise<void> {
    await eventually(what, holds, 60_000).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.lines}${JSON.stringify(this.told)}`);
    });
  }
}
