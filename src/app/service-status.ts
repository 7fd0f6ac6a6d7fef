/** The line that `systemctl status` shows: what is wrong first, then how it goes. */
import type { Note } from '../base/events.js';
import { endpointText } from '../base/listen-fault.js';
import type { Listening } from '../proxy/options.js';

/** What is looked at when the line is made. */
export interface ServiceFacts {
  readonly sessions: number;
  /** Upstreams that cannot be reached. */
  readonly down: readonly string[];
  readonly listening: readonly Listening[];
  /** How many processes serve, where there are to be several. */
  readonly serving?: number;
}

/** Hears every event, and remembers what an administrator must not miss. */
export class ServiceStatus {
  #open = 0;
  #reloadFault: string | undefined;
  #policy: string | undefined;
  #draining = false;
  readonly note: Note = (event) => {
    if (event.type === 'self-test') {
      this.#open = event.open.length;
      this.#policy = event.policy;
    }
    if (event.type === 'reload')
      this.#reloadFault = event.ok ? undefined : (event.reason ?? 'see the log').split('; ')[0];
    if (event.type === 'drain') this.#draining = true;
  };

  /** Takes no more clients on purpose. */
  get draining(): boolean {
    return this.#draining;
  }

  /** One line. */
  text({ sessions, down, listening, serving }: ServiceFacts): string {
    const places = listening.map(
      ({ listener, address, port }) => `${endpointText(address, port)} (${listener})`,
    );
    const by = serving === undefined ? '' : ` by ${serving} ${serving === 1 ? 'process' : 'processes'}`;
    return [
      ...(this.#open > 0 ? [`OPEN RELAY: the policy lets strangers relay in ${this.#open} ways`] : []),
      ...(this.#reloadFault === undefined
        ? []
        : [`the last reload FAILED and the old policy is in force: ${this.#reloadFault}`]),
      ...(down.length > 0 ? [`upstream not reachable: ${down.join(', ')}`] : []),
      `${sessions} ${sessions === 1 ? 'session' : 'sessions'} on ${places.join(', ')}${by}`,
      `policy ${this.#policy ?? 'of the command line'}`,
    ].join('; ');
  }
}
