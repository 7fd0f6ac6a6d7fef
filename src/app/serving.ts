/** Everything that serves mail in this process: how it starts, takes up a reload, and comes to its end. */
import type { Connections } from '../base/admission.js';
import type { Listening } from '../proxy/options.js';
import type { SmtpProxy } from '../proxy/proxy.js';
import type { AdminEndpoint } from './admin.js';
import { type Composed, compose, type Surroundings } from './compose.js';
import type { Setup } from './config.js';
import { watchExpiry } from './config-tls.js';
import { runSelfTest } from './self-test.js';
import { prepareTransparency } from './transparency.js';

interface Numbered {
  /** Of several processes, the number of this one. */
  readonly process?: number;
}

/** The endpoint that `admin` asks for; its libraries are loaded only where there is one. */
const adminEndpointOf = async ({ admin }: Setup, process?: number): Promise<AdminEndpoint | undefined> => {
  if (admin === undefined) return undefined;
  const { AdminEndpoint } = await import('./admin.js');
  return new AdminEndpoint(admin, process);
};

export class Serving {
  readonly composed: Composed;
  readonly admin: AdminEndpoint | undefined;
  readonly #setup: Setup;
  #ending = false;

  private constructor(
    setup: Setup,
    composed: Composed,
    admin: AdminEndpoint | undefined,
    /** What is missing of the host, and may be meant so. */
    private readonly warnings: readonly string[],
  ) {
    this.#setup = setup;
    this.composed = composed;
    this.admin = admin;
  }

  /** Nothing listens yet. Throws StoreError when the store cannot be had, Error where this host cannot do what is asked. */
  static async of(setup: Setup, around: Surroundings & Numbered = {}): Promise<Serving> {
    const transparency = await prepareTransparency(setup.proxy);
    if (!transparency.ok) throw new Error(transparency.error);
    const admin = await adminEndpointOf(setup, around.process);
    const subscribers = [...(around.subscribers ?? []), ...(admin?.subscribers ?? [])];
    return new Serving(setup, compose(setup, { ...around, subscribers }), admin, transparency.value);
  }

  /** Takes clients in. Rejects with an error fit for people; whoever called then calls `stop`. */
  async listen(): Promise<readonly Listening[]> {
    const { proxy, mail } = this.composed;
    return [...(await proxy.start()), ...(await mail.start())];
  }

  /** Reads logs and answers Whoson. */
  follow(): Promise<readonly Listening[]> {
    return this.composed.sources.start();
  }

  get proxy(): SmtpProxy {
    return this.composed.proxy;
  }

  get drainTime(): number {
    return this.#setup.drain;
  }

  /** Who else serves with this process is told of them. An address that is past its limit has a part of it somewhere. */
  get connections(): Connections {
    return this.proxy.connections(2 * this.#setup.processes);
  }

  elsewhere(connections: Connections): void {
    this.proxy.elsewhere(connections);
  }

  /** The mail servers behind, in words. */
  get upstreamText(): string {
    return [...this.proxy.figures]
      .map(([name, { up }]) => `${name} (${up === true ? 'up' : 'not reachable yet'})`)
      .join(', ');
  }

  /** Puts in force what a reload can change. */
  apply(changed: Setup): void {
    const { proxy, metrics } = this.composed;
    const { policy, observe, tls, clientCa, devices } = changed.proxy;
    proxy.setPolicy(policy, observe);
    metrics.policy({ rules: policy.rules, observe });
    proxy.setCertificates(tls, clientCa);
    proxy.setDevices(devices);
    this.admin?.apply(changed);
    this.selfTest(changed);
  }

  /** Tries the policy as a stranger, by the listeners that are served. */
  selfTest({ proxy: { policy } }: Pick<Setup, 'proxy'> = this.#setup): void {
    runSelfTest(policy, this.#setup.proxy, this.composed.note);
  }

  /** What is said once it serves, and every day. */
  begin(): void {
    const { proxy, note } = this.composed;
    watchExpiry(() => proxy.expiries, note);
    this.selfTest();
    for (const text of this.warnings) note({ type: 'warning', text });
    if (this.#setup.proxy.observe)
      note({ type: 'warning', text: 'observing only: everything passes, an open relay stays open' });
  }

  /** Takes no more clients, and lets those that are there go on to their own end, for up to `ms`. */
  async retire(ms: number): Promise<void> {
    const { proxy, mail, sources } = this.composed;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
    await Promise.race([Promise.all([proxy.rest(), mail.rest(), sources.stop()]), late]);
    clearTimeout(timer);
  }

  /** Takes no more clients, lets what has begun finish for up to `ms`, and then lets go of everything. `farewell`: comes before that. */
  async drain(ms: number, farewell?: () => Promise<void>): Promise<void> {
    const { proxy, mail, sources } = this.composed;
    await Promise.all([proxy.drain(ms), mail.drain(ms), sources.stop()]);
    await farewell?.();
    await this.#leave();
  }

  /** Ends everything at once. */
  async stop(): Promise<void> {
    const { proxy, mail, sources } = this.composed;
    await Promise.all([proxy.stop(), mail.stop(), sources.stop()]);
    await this.#leave();
  }

  /** The admin endpoint answers to the last: a drain is a time in which people look. */
  async #leave(): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    await this.admin?.stop();
    await this.composed.state.dispose();
  }
}
