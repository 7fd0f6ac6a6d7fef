/** Exemptions for networks of old devices (printers, scanners, consoles) that hold for nobody else. */

import { type Cidr, type Ip, IpSet } from '../base/ip.js';
import type { ShieldOverrides } from '../shield/rules.js';
import type { ListenerOptions } from './options.js';
import type { TlsFloor } from './tls.js';

export interface DeviceRule {
  /** [a-z0-9-]{1,32}, for people. */
  readonly name: string;
  readonly networks: readonly Cidr[];
  /** The least TLS version for these clients; undefined: the listener's own. */
  readonly tlsFloor: TlsFloor | undefined;
  /** False: STARTTLS is neither offered nor taken, for devices that choke on it. */
  readonly starttls: boolean;
  /** The mechanisms of SMTP AUTH that bear the password itself may be used in clear text. */
  readonly plaintextAuth: boolean;
  /** What the virtual patches do for these clients, before what the listener says. */
  readonly shield?: ShieldOverrides;
}

/** What of a listener's options a device rule can change. */
export type ClientTls = Pick<ListenerOptions, 'tls' | 'tlsFloor' | 'clientCerts'>;

export class Devices {
  readonly #rules: readonly { readonly rule: DeviceRule; readonly set: IpSet }[];

  constructor(rules: readonly DeviceRule[]) {
    this.#rules = rules.map((rule) => ({ rule, set: IpSet.of(rule.networks) }));
  }

  /** The first rule whose networks hold the client. */
  find(client: Ip): DeviceRule | undefined {
    if (this.#rules.length === 0) return undefined;
    return this.#rules.find(({ set }) => set.has(client))?.rule;
  }

  /** What a listener asks of this client. Nothing but `starttls: false` takes TLS away, and implicit TLS stays. */
  tlsFor(client: Ip, listener: ClientTls): ClientTls {
    const rule = this.find(client);
    if (rule === undefined) return listener;
    const { tls, tlsFloor, clientCerts } = listener;
    return {
      tls: tls === 'starttls' && !rule.starttls ? 'none' : tls,
      tlsFloor: rule.tlsFloor ?? tlsFloor,
      clientCerts,
    };
  }
}
